//! The Rust programs of README.md and the guide are those of `examples/`, which are compiled.

use std::path::Path;

#[test]
fn every_program_of_a_page_is_an_example() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let read = |name: &str| std::fs::read_to_string(root.join(name)).unwrap();
    let files = std::fs::read_dir(root.join("examples")).unwrap();
    let programs: Vec<String> = files
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "rs"))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    for (page, least) in [("README.md", 1), ("docs/guide.md", 2)] {
        let text = read(page);
        let blocks = text.split("```rust\n").skip(1);
        let mut found = 0;
        for block in blocks {
            let program = block.split("```").next().unwrap();
            let first = program.lines().next().unwrap();
            assert!(
                programs.iter().any(|p| p.ends_with(program)),
                "{page}: no example ends with the program that begins \"{first}\""
            );
            found += 1;
        }
        assert!(found >= least, "{page} has {found} programs");
    }
}
