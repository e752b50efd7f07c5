//! Runs a Markdown page: its `bash` blocks in one shell, its `text` blocks as what must have been printed.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use testbed::{SOON, eventually, fits};

/// A fenced block: its info string's words, and its lines.
pub(crate) struct Block {
    info: Vec<String>,
    body: Vec<String>,
}

impl Block {
    pub(crate) fn begins(&self, line: &str) -> bool {
        self.body.first().is_some_and(|first| first.starts_with(line))
    }

    pub(crate) fn is_commands(&self) -> bool {
        self.info.first().is_some_and(|info| ["bash", "sh", "shell", "console"].contains(&info.as_str()))
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Step {
    commands: String,
    /// Lines that the output has in this order; `…` stands for anything.
    shown: Vec<String>,
    fails: bool,
    /// On the other machine of a page that has two.
    pub(crate) is_elsewhere: bool,
    /// Repeated until it shows what it must.
    is_repeated: bool,
}

pub(crate) fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let body = lines.by_ref().take_while(|line| *line != "```").map(String::from).collect();
        blocks.push(Block { info: info.split_whitespace().map(String::from).collect(), body });
    }
    blocks
}

/// What is to be run of a page's blocks. Info strings: `bash` or `sh`, with `fails`, `second` (the second machine) or `until`
/// behind it; `text` right below is what is shown then. Blocks in other languages are looked at by people.
pub(crate) fn steps<'a>(blocks: impl IntoIterator<Item = &'a Block>) -> Result<Vec<Step>> {
    let mut steps: Vec<Step> = Vec::new();
    for block in blocks {
        let words: Vec<&str> = block.info.iter().map(String::as_str).collect();
        match words[..] {
            ["bash" | "sh", ref how @ ..] => {
                ensure!(matches!(how, [] | ["fails" | "second" | "until"]), "no way to run commands: {how:?}");
                steps.push(Step {
                    commands: block.body.join("\n"),
                    shown: Vec::new(),
                    fails: how == ["fails"],
                    is_elsewhere: how == ["second"],
                    is_repeated: how == ["until"],
                });
            }
            ["text"] => steps.last_mut().context("shown output follows commands")?.shown = block.body.clone(),
            _ => ensure!(!block.is_commands(), "commands are marked bash or sh, not {}", words.join(" ")),
        }
    }
    Ok(steps)
}

impl Step {
    /// A command with `…` in it is a line of what was printed before, which a person would copy.
    pub(crate) fn filled(&self, printed: &str) -> Result<Self> {
        let fill = |line: &str| -> Result<String> {
            if !line.contains('…') {
                return Ok(line.to_owned());
            }
            let (sudo, wanted) = line.strip_prefix("sudo ").map_or(("", line), |rest| ("sudo ", rest));
            let found = printed.lines().find(|printed| fits(printed, wanted));
            Ok(format!("{sudo}{}", found.with_context(|| format!("nothing was printed like {wanted}"))?.trim()))
        };
        let lines: Result<Vec<String>> = self.commands.lines().map(fill).collect();
        Ok(Self { commands: lines?.join("\n"), ..self.clone() })
    }
}

/// One shell for the whole page, so that variables and background programs stay.
pub(crate) struct Shell {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    count: usize,
}

impl Shell {
    /// `command` is a bash that reads commands from its standard input.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("start a shell")?;
        let lines = BufReader::new(child.stdout.take().context("the shell's output")?).lines();
        let mut shell = Self { child, lines, count: 0 };
        shell.run("exec 2>&1")?;
        Ok(shell)
    }

    /// Runs a step; what it printed.
    pub(crate) fn step(&mut self, step: &Step) -> Result<String> {
        let start = Instant::now();
        let attempt = |shell: &mut Self| -> Result<String> {
            let (output, status) = shell.run(&step.commands)?;
            ensure!((status != 0) == step.fails || step.is_repeated, "exit status {status}:\n{output}");
            matches(&output, &step.shown).map(|()| output)
        };
        let result =
            if step.is_repeated { eventually("the page's output", SOON, || attempt(self)) } else { attempt(self) };
        println!("{:6.2}s  {}", start.elapsed().as_secs_f64(), step.commands.lines().last().unwrap_or_default());
        result.with_context(|| format!("commands:\n{}", step.commands))
    }

    /// What the commands printed, and the exit status of the last.
    fn run(&mut self, commands: &str) -> Result<(String, i32)> {
        self.count += 1;
        let mark = format!("end-of-step-{}", self.count);
        let input = self.child.stdin.as_mut().context("the shell's input")?;
        // On a line of its own even where the output does not end with a newline.
        writeln!(input, "{commands}\nprintf '\\n%s %s\\n' {mark} $?").context("write to the shell")?;
        let mut output = String::new();
        loop {
            let line = self.lines.next().context("the shell ended")?.context("read from the shell")?;
            if let Some(status) = line.strip_prefix(&mark) {
                return Ok((output, status.trim().parse().context("an exit status")?));
            }
            output += &line;
            output.push('\n');
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Runs the steps of a page that has one machine. `command` as in [`Shell::start`].
pub(crate) fn tell(command: &mut Command, steps: &[Step]) -> Result<()> {
    let mut shell = Shell::start(command)?;
    for step in steps {
        ensure!(!step.is_elsewhere, "this page has one machine; these are for another:\n{}", step.commands);
        shell.step(step)?;
    }
    Ok(())
}

fn matches(output: &str, shown: &[String]) -> Result<()> {
    let mut lines = output.lines();
    for wanted in shown {
        ensure!(lines.any(|line| fits(line, wanted)), "not shown, or not in this order: {wanted}\nin:\n{output}");
    }
    Ok(())
}

#[test]
fn blocks_become_steps_and_lines_come_in_order() {
    let page = "x\n```bash until\na\nb\n```\n\n```text\nNAME …\n```\n```bash fails\nc\n```\n";
    let steps = steps(&blocks(page)).unwrap();
    assert_eq!(steps[0].commands, "a\nb");
    assert_eq!((steps[0].is_repeated, steps[0].shown.len()), (true, 1));
    assert!(steps[1].fails);
    assert!(matches("a\nb\n", &["b".into(), "a".into()]).is_err());
}

#[test]
fn a_page_of_one_machine_has_no_commands_for_another() {
    let run = |page: &str| tell(&mut Command::new("bash"), &steps(&blocks(page)).unwrap());
    run("```sh\ntrue\n```\n").unwrap();
    let refused = run("```sh\ntrue\n```\n```sh second\ntrue\n```\n").unwrap_err().to_string();
    assert!(refused.contains("this page has one machine"), "{refused}");
}

#[test]
fn a_command_is_filled_with_what_was_printed() {
    let step = Step { commands: "sudo join … --token …\ntrue".into(), ..Step::default() };
    assert_eq!(step.filled("x\njoin a:1 --token b\n").unwrap().commands, "sudo join a:1 --token b\ntrue");
    assert!(step.filled("join a:1\n").is_err());
}
