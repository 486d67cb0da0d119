//! Arguments of the command line.

use std::any::TypeId;

use clap::{Command, CommandFactory, Parser};
use engram_cli::args::{self, Cli, ModelCommand};

/// Arguments of type `String` that are names, settings or addresses and never begin with a hyphen.
const NO_TEXT: [&str; 8] = [
    "set", "device", "config", "sites", "email", "api_key", "base_url", "edit",
];

/// "-5 mmHg" is a prompt: what is a text may begin with a hyphen.
#[test]
fn texts_may_begin_with_a_hyphen() {
    let mut texts = Vec::new();
    visit(&Cli::command(), &mut texts);
    for name in [
        "prompt", "clean", "corrupt", "answer", "foil", "subject", "to", "from", "fact",
    ] {
        assert!(
            texts.iter().any(|t| t.ends_with(&format!(" --{name}"))),
            "{name}: {texts:?}"
        );
    }
    let cli = Cli::try_parse_from([
        "engram", "model", "ask", "--model", "m", "--prompt", "-5 mmHg", "--top", "3",
    ]);
    let args::Command::Model(ModelCommand::Ask { prompt, top, .. }) = cli.unwrap().command else {
        panic!("another command");
    };
    assert_eq!((prompt.as_str(), top), ("-5 mmHg", 3));
}

fn visit(command: &Command, texts: &mut Vec<String>) {
    for arg in command.get_arguments() {
        let is_text = arg.get_value_parser().type_id() == TypeId::of::<String>();
        if is_text && !NO_TEXT.contains(&arg.get_id().as_str()) {
            let name = format!("{} --{}", command.get_name(), arg.get_id());
            assert!(arg.is_allow_hyphen_values_set(), "{name} refuses \"-5\"");
            texts.push(name);
        }
    }
    command.get_subcommands().for_each(|c| visit(c, texts));
}
