//! File names of a model that is split into several files.

/// The name of one part: `STEM-00002-of-00003.gguf`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartName {
    /// The text before the numbers, shared by all parts of a model.
    pub stem: String,
    /// Number of the part, from 1.
    pub number: usize,
    /// Number of parts.
    pub count: usize,
}

impl PartName {
    /// Parses a file name; `None` if it is not that of a part.
    pub fn parse(name: &str) -> Option<PartName> {
        let rest = name.strip_suffix(".gguf")?;
        let (rest, count) = rest.rsplit_once("-of-")?;
        let (stem, number) = rest.rsplit_once('-')?;
        let read = |digits: &str| -> Option<usize> {
            let plain = digits.len() == 5 && digits.bytes().all(|b| b.is_ascii_digit());
            plain.then(|| digits.parse().ok())?
        };
        let (number, count) = (read(number)?, read(count)?);
        (1..=count).contains(&number).then(|| PartName {
            stem: stem.to_owned(),
            number,
            count,
        })
    }

    /// The name of another part of the same model.
    pub fn of_part(&self, number: usize) -> String {
        format!("{}-{number:05}-of-{:05}.gguf", self.stem, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::PartName;

    #[test]
    fn parts_are_named_as_llama_cpp_names_them() {
        let name = PartName::parse("Q4/a-b-00002-of-00013.gguf").unwrap();
        assert_eq!(
            (name.stem.as_str(), name.number, name.count),
            ("Q4/a-b", 2, 13)
        );
        assert_eq!(name.of_part(13), "Q4/a-b-00013-of-00013.gguf");
        for other in [
            "a.gguf",
            "a-2-of-3.gguf",
            "a-00004-of-00003.gguf",
            "a-00000-of-00003.gguf",
            "a-00001-of-00003.safetensors",
            "a-+0001-of-00003.gguf",
        ] {
            assert_eq!(PartName::parse(other), None, "{other}");
        }
    }
}
