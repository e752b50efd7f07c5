//! Whether what was written still is there: the text that would write everything against what is saved. Pure.

use std::collections::HashMap;

/// How many rules each chain has, by table and chain.
type Sizes<'a> = HashMap<(&'a str, &'a str), usize>;

/// `everything` is a text of [`super::transaction::full`] made for what `saved` (the tool's own text) shows. The order of
/// jumps among the kernel's own does not count: others may put theirs in front, and would do so again.
pub(crate) fn is_whole(everything: &str, saved: &str) -> bool {
    let there = sizes(saved);
    let chains_are_whole = sizes(everything).iter().all(|(chain, size)| there.get(chain) == Some(size));
    let count = |verb: &str| everything.lines().filter(|line| line.starts_with(verb)).count();
    // A jump that only stands behind others is taken out and put in.
    chains_are_whole && count("-I ") == count("-D ") && count("-X ") == 0
}

fn sizes(text: &str) -> Sizes<'_> {
    let mut sizes = Sizes::new();
    let mut table = "";
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name.trim();
        } else if let Some(chain) = line.strip_prefix(':') {
            sizes.entry((table, first_word(chain))).or_default();
        } else if let Some(rule) = line.strip_prefix("-A ") {
            *sizes.entry((table, first_word(rule))).or_default() += 1;
        }
    }
    sizes
}

fn first_word(text: &str) -> &str {
    text.split(' ').next().unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: &str = "*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-SVC-A - [0:0]\n-A KUBE-SERVICES -j KUBE-SVC-A\n\
        -A KUBE-SVC-A -j KUBE-SEP-B\n-A KUBE-SVC-A -j KUBE-SEP-C\nCOMMIT\n";

    #[test]
    fn a_flushed_chain_shows_and_others_do_not_matter() {
        let saved =
            format!("*filter\n:KUBE-SERVICES - [0:0]\nCOMMIT\n{WANTED}*mangle\n:X - [0:0]\n-A X -j Y\nCOMMIT\n");
        assert!(is_whole(WANTED, &saved));
        for gone in ["-A KUBE-SVC-A -j KUBE-SEP-C\n", "-A KUBE-SERVICES -j KUBE-SVC-A\n", ":KUBE-SVC-A - [0:0]\n"] {
            let saved = saved.replace(gone, "");
            // A chain with rules is there, declared or not.
            assert_eq!(is_whole(WANTED, &saved), gone.starts_with(':'), "{gone}");
        }
        let emptied = "*nat\n:KUBE-SERVICES - [0:0]\n-A KUBE-SERVICES -j KUBE-SVC-A\nCOMMIT\n";
        assert!(!is_whole(WANTED, emptied), "the chain is gone");
        assert!(!is_whole(WANTED, &saved.replace("-A KUBE-SERVICES", "-A KUBE-SERVICES -j X\n-A KUBE-SERVICES")));
    }

    #[test]
    fn jumps_must_be_there_wherever() {
        let jump = |verb: &str| format!("{verb} POSTROUTING -j KUBE-POSTROUTING\n");
        assert!(!is_whole(&format!("*nat\n{}COMMIT\n", jump("-I")), ""), "it would be put in");
        assert!(is_whole(&format!("*nat\n{}{}COMMIT\n", jump("-D"), jump("-I")), ""), "it would be moved");
        assert!(!is_whole("*nat\n-X KUBE-SVC-OLD\nCOMMIT\n", ""), "a chain too many");
    }
}
