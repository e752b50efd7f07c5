//! What a rule says, whichever way it is worded. Pure.
//!
//! The tools list a rule's options in an order of their own, put names without need of them into no quotes, and say what
//! was left out. [`meaning`] is the same for the text that is written and for what is shown of it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::str::CharIndices;

/// A number for a rule (without its `-A CHAIN`): another one says something else.
pub(crate) fn meaning(rule: &str) -> u64 {
    let mut words = Words(rule).peekable();
    let (mut sum, mut is_not) = (0u64, false);
    while let Some(option) = words.next() {
        if option.text == "!" {
            is_not = true;
            continue;
        }
        let mut values = Vec::new();
        while let Some(value) = words.next_if(|word| !word.is_option()) {
            values.push(value.text);
        }
        sum = sum.wrapping_add(of_option(is_not, option.text, &values));
        is_not = false;
    }
    sum
}

/// Nothing where the tools say what holds anyway.
fn of_option(is_not: bool, name: &str, values: &[&str]) -> u64 {
    let number = |name: &str, values: &[&str]| {
        let mut hasher = DefaultHasher::new();
        (is_not, name, values).hash(&mut hasher);
        hasher.finish()
    };
    match (name, values) {
        ("--rsource", []) | ("--reject-with", ["icmp-port-unreachable" | "icmp6-port-unreachable"]) => 0,
        ("--mask", ["255.255.255.255" | "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"]) => 0,
        ("--xor-mark", [mark]) => number("--set-xmark", &[&format!("{mark}/0x0")]),
        ("--or-mark", [mark]) => number("--set-xmark", &[&format!("{mark}/{mark}")]),
        ("--probability", [share]) => number(name, &[&steps(share)]),
        _ => number(name, values),
    }
}

/// The kernel counts probabilities in steps, and they are shown with more digits than were written.
fn steps(probability: &str) -> String {
    const STEPS: f64 = (1u32 << 31) as f64;
    probability.parse::<f64>().map_or_else(|_| probability.to_owned(), |share| (share * STEPS).round().to_string())
}

/// A word, or what stands in quotes.
struct Word<'a> {
    text: &'a str,
    is_quoted: bool,
}

impl Word<'_> {
    fn is_option(&self) -> bool {
        !self.is_quoted && (self.text.starts_with('-') || self.text == "!")
    }
}

struct Words<'a>(&'a str);

impl<'a> Iterator for Words<'a> {
    type Item = Word<'a>;

    fn next(&mut self) -> Option<Word<'a>> {
        let rest = self.0.trim_start();
        let quoted = rest.strip_prefix('"');
        let is_quoted = quoted.is_some();
        let text = quoted.unwrap_or(rest);
        let end = if is_quoted { closing_quote(text.char_indices()) } else { text.find(' ') };
        let end = end.unwrap_or(text.len());
        self.0 = text.get(end + 1..).unwrap_or_default();
        let text = &text[..end];
        (is_quoted || !text.is_empty()).then_some(Word { text, is_quoted })
    }
}

fn closing_quote(letters: CharIndices) -> Option<usize> {
    let mut is_escaped = false;
    for (at, letter) in letters {
        match letter {
            '"' if !is_escaped => return Some(at),
            _ => is_escaped = letter == '\\' && !is_escaped,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pairs of what is written and what iptables 1.8.9 shows of it, in either back end.
    const SAME: [(&str, &str); 6] = [
        (
            "-m comment --comment \"ns/web:p80 cluster IP\" -m tcp -p tcp -d 172.30.0.1/32 --dport 80 -j KUBE-SVC-A",
            "-d 172.30.0.1/32 -p tcp -m comment --comment \"ns/web:p80 cluster IP\" -m tcp --dport 80 -j KUBE-SVC-A",
        ),
        (
            "-m comment --comment \"ns/web:p80\" -s 10.1.0.2/32 -j KUBE-MARK-MASQ",
            "-s 10.1.0.2/32 -m comment --comment ns/web:p80 -j KUBE-MARK-MASQ",
        ),
        ("-j MARK --xor-mark 0x4000", "-j MARK --set-xmark 0x4000/0x0"),
        ("-j MARK --or-mark 0x4000", "-j MARK --set-xmark 0x4000/0x4000"),
        (
            "-m statistic --mode random --probability 0.3333333333 -j KUBE-SEP-A",
            "-m statistic --mode random --probability 0.33333333349 -j KUBE-SEP-A",
        ),
        (
            "-m recent --name KUBE-SEP-A --rcheck --seconds 10800 --reap -j KUBE-SEP-A",
            "-m recent --rcheck --seconds 10800 --reap --name KUBE-SEP-A --mask 255.255.255.255 --rsource -j KUBE-SEP-A",
        ),
    ];

    #[test]
    fn the_same_in_other_words_is_the_same() {
        for (written, shown) in SAME {
            assert_eq!(meaning(written), meaning(shown), "{written}");
        }
    }

    #[test]
    fn what_says_something_else_is_not() {
        let rule = "! -s 10.0.0.0/8 -p tcp -m tcp --dport 80 -m comment --comment \"a -j b\" -j DROP";
        for (old, new) in [
            ("! ", ""),
            ("10.0.0.0/8", "10.0.0.0/9"),
            ("--dport", "--sport"),
            ("80", "81"),
            ("DROP", "ACCEPT"),
            ("a -j b", "a -j c"),
            ("-j DROP", "-j REJECT --reject-with tcp-reset"),
        ] {
            assert_ne!(meaning(rule), meaning(&rule.replacen(old, new, 1)), "{old} is {new}");
        }
        assert_ne!(meaning("-s 1.1.1.1 -d 2.2.2.2"), meaning("-s 2.2.2.2 -d 1.1.1.1"));
    }

    #[test]
    fn quotes_hold_words_together() {
        let words = |text| Words(text).map(|word| word.text).collect::<Vec<_>>();
        assert_eq!(words(r#"--comment "a \"b\" c" -j X"#), ["--comment", r#"a \"b\" c"#, "-j", "X"]);
        assert_eq!(words(r#"--comment "" -j "X"#), ["--comment", "", "-j", "X"]);
        assert!(words("  ").is_empty());
    }
}
