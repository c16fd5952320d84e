//! Manual pages and completions, made of the one table of flags (`args`) and the one of exit codes (`exit`).
//!
//! The page of a command has its flags, those of the commands below it, and what `--help` says behind them. Contract: nothing here
//! repeats a flag or a code.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::args::Bulkio;
use crate::exit::{self, Exit};
use crate::screen::{self, Screen};

/// Prints the page of all commands, or writes it and those of each command to a folder.
pub(crate) fn pages(folder: Option<&Path>, screen: &Screen) -> Exit {
    let whole = built();
    let Some(folder) = folder else {
        return match page(&whole) {
            Ok(text) => print(&text, screen),
            Err(error) => failed("the manual page cannot be made", &error, screen),
        };
    };
    let commands = visible(&whole).cloned();
    for command in std::iter::once(whole.clone()).chain(commands) {
        let path = folder.join(format!("{}.1", name_of(&command)));
        if let Err(error) = page(&command).and_then(|text| fs::write(&path, text)) {
            return failed(&format!("{} cannot be written", path.display()), &error, screen);
        }
    }
    Exit::Done
}

/// Prints the completions of a shell.
pub(crate) fn completions(shell: Shell, screen: &Screen) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Bulkio::command(), "bulkio", &mut script);
    print(&String::from_utf8_lossy(&script), screen)
}

/// Prints a text.
pub(crate) fn print(text: &str, screen: &Screen) -> Exit {
    match screen::print(text) {
        Ok(()) => Exit::Done,
        Err(error) => failed("cannot print", &error, screen),
    }
}

fn failed(what: &str, error: &io::Error, screen: &Screen) -> Exit {
    screen.say(&format!("bulkio: {what}: {error}"));
    Exit::Failed
}

/// The table of commands, with what clap adds to it.
fn built() -> Command {
    let mut command = Bulkio::command().disable_help_subcommand(true);
    command.build();
    command
}

fn visible(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|command| !command.is_hide_set())
}

/// The name of the page of a command, such as `bulkio-copy`.
fn name_of(command: &Command) -> String {
    command.get_bin_name().unwrap_or_else(|| command.get_name()).replace(' ', "-")
}

/// Makes the page of a command, in the language of man(7).
fn page(command: &Command) -> io::Result<String> {
    let man = Man::new(command.clone()).title(name_of(command).to_uppercase());
    let mut out = Vec::new();
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    if command.get_arguments().next().is_some() {
        man.render_options_section(&mut out)?;
    }
    notes(command, ".SH", &mut out)?;
    for below in visible(command) {
        section(below, &mut out)?;
    }
    writeln!(out, ".SH \"EXIT STATUS\"")?;
    for (code, meaning) in exit::CODES {
        entry(code, meaning, &mut out)?;
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// Adds what a command below is about, and those below that.
fn section(command: &Command, out: &mut Vec<u8>) -> io::Result<()> {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    writeln!(out, ".SH \"{}\"", name.to_uppercase())?;
    let man = Man::new(command.clone());
    let mut text = Vec::new();
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    // One level down: the section is the command's.
    let text = String::from_utf8_lossy(&text);
    let lines = text
        .lines()
        .map(|line| line.strip_prefix(".SH ").map_or(line.to_owned(), |name| format!(".SS {name}")));
    for line in lines {
        writeln!(out, "{line}")?;
    }
    notes(command, ".SS", out)?;
    visible(command).try_for_each(|below| section(below, out))
}

/// Adds what stands behind the flags in the help, but for the exit codes, which have a section of their own.
fn notes(command: &Command, level: &str, out: &mut Vec<u8>) -> io::Result<()> {
    let Some(text) = command.get_after_help().map(ToString::to_string) else { return Ok(()) };
    let text = text.strip_suffix(&exit::table()).unwrap_or(&text).trim_end();
    if !text.is_empty() {
        writeln!(out, "{level} NOTES")?;
    }
    for line in text.lines() {
        // A row of a table is indented, and has two columns; what is indented further goes on with the second.
        let row = line.strip_prefix("  ").filter(|rest| !rest.starts_with(' '));
        match row.and_then(|rest| rest.split_once("  ")) {
            Some((name, text)) => entry(name, text.trim(), out)?,
            None if line.trim().is_empty() => writeln!(out, ".PP")?,
            None => writeln!(out, "{}", escaped(line.trim()))?,
        }
    }
    Ok(())
}

fn entry(name: &str, text: &str, out: &mut Vec<u8>) -> io::Result<()> {
    writeln!(out, ".TP\n\\fB{}\\fR\n{}", escaped(name), escaped(text))
}

/// Text as man(7) takes it: dashes are those that can be typed, and no line is a request.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every flag and every command, with the words before it.
    fn flags(command: &Command) -> Vec<String> {
        let own = command.get_arguments().filter(|arg| !arg.is_hide_set());
        let own = own.map(|arg| match (arg.get_long(), arg.get_value_names()) {
            (Some(long), _) => format!("--{long}"),
            (None, Some([name, ..])) => name.to_string(),
            (None, _) => arg.get_id().to_string(),
        });
        own.chain(visible(command).flat_map(flags)).collect()
    }

    #[test]
    fn the_page_has_every_flag_command_and_code() {
        let whole = built();
        let text = page(&whole).expect("a page").replace("\\-", "-");
        let flags = flags(&whole);
        assert!(flags.len() > 50 && flags.contains(&"--expect-serial".to_owned()), "{flags:?}");
        for flag in flags {
            assert!(text.contains(&flag), "{flag} is missing");
        }
        for command in visible(&whole) {
            let name = command.get_bin_name().expect("it is built").to_uppercase();
            assert!(text.contains(&format!(".SH \"{name}\"")), "{name}");
        }
        for (code, meaning) in exit::CODES {
            assert!(text.contains(&format!("\\fB{code}\\fR\n{meaning}")), "{code}");
        }
        assert_eq!(text.matches(exit::CODES[4].1).count(), 1, "the codes stand in one place");
        assert!(text.contains("\\fBoutcome, exit_code\\fR"), "tables have entries");
    }

    #[test]
    fn no_line_is_taken_for_a_request() {
        assert_eq!(escaped(".so x"), "\\&.so x");
        assert_eq!(escaped("a\\b -c"), "a\\eb \\-c");
    }
}
