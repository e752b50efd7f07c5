//! Reading `iptables -S` lines: enough of their syntax to find our own rules and to delete them as they stand.

/// The words of a line; quoted words may hold blanks and escaped quotes.
pub(crate) fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let (mut is_quoted, mut is_open) = (false, false);
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => word.extend(characters.next()),
            '"' => {
                is_quoted = !is_quoted;
                is_open = true;
            }
            c if c.is_whitespace() && !is_quoted => {
                if is_open || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                is_open = false;
            }
            c => word.push(c),
        }
    }
    if is_open || !word.is_empty() {
        words.push(word);
    }
    words
}

/// The chain that a rule jumps to.
pub(crate) fn target(line: &str) -> Option<String> {
    let words = words(line);
    let at = words.iter().position(|word| word == "-j" || word == "-g")?;
    words.get(at + 1).cloned()
}

/// The `-D` lines for every rule among `listed` (`-A …` lines) that jumps to `chain`.
pub(crate) fn deletions(listed: &[String], chain: &str) -> Vec<String> {
    let ours = listed.iter().filter(|line| line.starts_with("-A ") && target(line).as_deref() == Some(chain));
    ours.map(|line| format!("-D {}", &line[3..])).collect()
}

/// What a restore must do to remove `chain` and every jump to it, given what `listed` shows of the table: nothing when
/// nothing is left of it.
pub(crate) fn removal(listed: &[String], chain: &str) -> Vec<String> {
    let mut lines = deletions(listed, chain);
    if listed.iter().any(|line| *line == format!("-N {chain}")) {
        lines.push(format!("-F {chain}"));
        lines.push(format!("-X {chain}"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTED: [&str; 5] = [
        "-P POSTROUTING ACCEPT",
        "-N CNI-1",
        r#"-A POSTROUTING -s 10.1.1.2/32 -m comment --comment "name: \"kube\" id: \"a\"" -j CNI-1"#,
        "-A POSTROUTING -s 10.1.1.3/32 -j CNI-11",
        "-A CNI-1 -d 10.1.1.0/24 -j ACCEPT",
    ];

    #[test]
    fn quoted_words_stay_whole() {
        assert_eq!(
            words(r#"-m comment --comment "a \"b\" c" -j X"#),
            ["-m", "comment", "--comment", "a \"b\" c", "-j", "X"]
        );
    }

    #[test]
    fn removal_takes_jumps_and_chain_and_nothing_else() {
        let listed = LISTED.map(str::to_string);
        assert_eq!(
            removal(&listed, "CNI-1"),
            [
                r#"-D POSTROUTING -s 10.1.1.2/32 -m comment --comment "name: \"kube\" id: \"a\"" -j CNI-1"#,
                "-F CNI-1",
                "-X CNI-1",
            ]
        );
        assert_eq!(removal(&listed, "CNI-2"), Vec::<String>::new());
    }
}
