//! Whether what was written still is there: the text that would write everything against what is saved. Pure.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::{base, words};

/// What there is of our chains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// All as it was written.
    Whole,
    /// Chains, rules or jumps are missing, or there are more.
    OtherCount,
    /// As many rules, and some say something else: a number for what.
    OtherRules(u64),
}

/// How many rules a chain has, and what they say. Their order counts in a chain of its own. In one that all Services
/// share a difference puts new ones to the head: only the jumps for NodePorts have their place, at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Rules {
    count: usize,
    meaning: u64,
}

impl Rules {
    fn add(&mut self, rule: &str, is_chain_shared: bool) {
        self.count += 1;
        let says = words::meaning(rule);
        let (order, weight) = match is_chain_shared {
            false => (ORDER, 1),
            // Chains are only compared when they are of a length, so from the head is as good as from the end.
            true if rule.ends_with(LAST) => (1, 2 * self.count as u64 + 1),
            true => (1, 1),
        };
        self.meaning = self.meaning.wrapping_mul(order).wrapping_add(says.wrapping_mul(weight));
    }
}

/// By table and chain.
type Chains<'a> = HashMap<(&'a str, &'a str), Rules>;

/// `everything` is a text of [`super::transaction::full`] made for what `saved` (the tool's own text) shows. The order of
/// jumps among the kernel's own does not count: others may put theirs in front, and would do so again.
pub(crate) fn look(everything: &str, saved: &str) -> Found {
    let wanted = chains(everything, |_| true);
    let there = chains(saved, |chain| wanted.contains_key(chain));
    let count = |verb: &str| everything.lines().filter(|line| line.starts_with(verb)).count();
    // A chain that others use, too, is only named when something is missing there. A jump that only stands behind
    // others is taken out and put in.
    let has_jumps =
        !base::KEPT.iter().any(|kept| wanted.contains_key(kept)) && count("-I ") == count("-D ") && count("-X ") == 0;
    let is_counted = |(chain, rules): (_, &Rules)| there.get(chain).is_some_and(|there| there.count == rules.count);
    if !has_jumps || !wanted.iter().all(is_counted) {
        return Found::OtherCount;
    }
    let others = there.iter().filter(|(chain, rules)| wanted.get(*chain) != Some(*rules));
    let others: BTreeMap<_, u64> = others.map(|(chain, rules)| (*chain, rules.meaning)).collect();
    if others.is_empty() {
        return Found::Whole;
    }
    let mut hasher = DefaultHasher::new();
    others.hash(&mut hasher);
    Found::OtherRules(hasher.finish())
}

fn chains<'a>(text: &'a str, is_wanted: impl Fn(&(&'a str, &'a str)) -> bool) -> Chains<'a> {
    let mut chains = Chains::new();
    let mut table = "";
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name.trim();
        } else if let Some(chain) = line.strip_prefix(':') {
            let chain = (table, first_word(chain));
            if is_wanted(&chain) {
                chains.entry(chain).or_default();
            }
        } else if let Some(rule) = line.strip_prefix("-A ") {
            let (chain, rule) = rule.split_once(' ').unwrap_or((rule, ""));
            if !is_wanted(&(table, chain)) {
                continue;
            }
            chains.entry((table, chain)).or_default().add(rule, base::shared_chains(table).contains(&chain));
        }
    }
    chains
}

/// How the rules of [`base::node_port_tail`] end, in the tool's words, too.
const LAST: &str = "-j KUBE-NODEPORTS";

/// Odd, so that no bit is lost however many rules follow.
const ORDER: u64 = 0x9e37_79b9_7f4a_7c15;

fn first_word(text: &str) -> &str {
    text.split(' ').next().unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: &str = "*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-SVC-A - [0:0]\n-A KUBE-SERVICES -j KUBE-SVC-A\n\
        -A KUBE-SERVICES -j KUBE-SVC-B\n-A KUBE-SVC-A -j KUBE-SEP-B\n-A KUBE-SVC-A -j KUBE-SEP-C\nCOMMIT\n";

    #[test]
    fn a_flushed_chain_shows_and_others_do_not_matter() {
        let saved =
            format!("*filter\n:KUBE-SERVICES - [0:0]\nCOMMIT\n{WANTED}*mangle\n:X - [0:0]\n-A X -j Y\nCOMMIT\n");
        assert_eq!(look(WANTED, &saved), Found::Whole);
        for gone in ["-A KUBE-SVC-A -j KUBE-SEP-C\n", "-A KUBE-SERVICES -j KUBE-SVC-A\n"] {
            assert_eq!(look(WANTED, &saved.replace(gone, "")), Found::OtherCount, "{gone}");
        }
        let undeclared = saved.replace(":KUBE-SVC-A - [0:0]\n", "");
        assert_eq!(look(WANTED, &undeclared), Found::Whole, "a chain with rules is there");
        let emptied =
            "*nat\n:KUBE-SERVICES - [0:0]\n-A KUBE-SERVICES -j KUBE-SVC-A\n-A KUBE-SERVICES -j KUBE-SVC-B\nCOMMIT\n";
        assert_eq!(look(WANTED, emptied), Found::OtherCount, "the chain is gone");
        let more =
            saved.replace("-A KUBE-SERVICES -j KUBE-SVC-A", "-A KUBE-SERVICES -j X\n-A KUBE-SERVICES -j KUBE-SVC-A");
        assert_eq!(look(WANTED, &more), Found::OtherCount);
    }

    #[test]
    fn a_rule_that_was_replaced_shows() {
        for (old, new) in [("-A KUBE-SVC-A -j KUBE-SEP-C", "-A KUBE-SVC-A -j RETURN"), ("-j KUBE-SVC-B", "-j RETURN")] {
            let found = look(WANTED, &WANTED.replace(old, new));
            assert!(matches!(found, Found::OtherRules(_)), "{old}: {found:?}");
        }
        let turned = |a: &str, b: &str| WANTED.replace(a, "X").replace(b, a).replace('X', b);
        let two = "*nat\n-A A -j X\n-A B -j X\n";
        let same_in = |chain: &str| look(two, &two.replace(&format!("-A {chain} -j X"), &format!("-A {chain} -j Y")));
        assert_ne!(same_in("A"), same_in("B"), "where it is counts, too");
        let found = look(WANTED, &turned("KUBE-SEP-B", "KUBE-SEP-C"));
        assert!(matches!(found, Found::OtherRules(_)), "their order counts: {found:?}");
        assert_eq!(look(WANTED, &turned("KUBE-SVC-A\n", "KUBE-SVC-B\n")), Found::Whole, "among Services it does not");
    }

    #[test]
    fn only_the_jump_for_node_ports_has_its_place_among_services() {
        let chain = |rules: [&str; 3]| {
            format!("*nat\n:KUBE-SERVICES - [0:0]\n{}COMMIT\n", {
                rules.map(|to| format!("-A KUBE-SERVICES -j {to}\n")).concat()
            })
        };
        let wanted = chain(["KUBE-SVC-A", "KUBE-SVC-B", "KUBE-NODEPORTS"]);
        assert_eq!(look(&wanted, &chain(["KUBE-SVC-B", "KUBE-SVC-A", "KUBE-NODEPORTS"])), Found::Whole);
        for others in [["KUBE-SVC-A", "KUBE-NODEPORTS", "KUBE-SVC-B"], ["KUBE-NODEPORTS", "KUBE-SVC-A", "KUBE-SVC-B"]] {
            let found = look(&wanted, &chain(others));
            assert!(matches!(found, Found::OtherRules(_)), "{others:?}: {found:?}");
        }
    }

    #[test]
    fn jumps_must_be_there_wherever() {
        let jump = |verb: &str| format!("{verb} POSTROUTING -j KUBE-POSTROUTING\n");
        assert_eq!(look(&format!("*nat\n{}COMMIT\n", jump("-I")), ""), Found::OtherCount, "it would be put in");
        assert_eq!(look(&format!("*nat\n{}{}COMMIT\n", jump("-D"), jump("-I")), ""), Found::Whole, "it would be moved");
        assert_eq!(look("*nat\n-X KUBE-SVC-OLD\nCOMMIT\n", ""), Found::OtherCount, "a chain too many");
    }

    #[test]
    fn others_rules_stand_for_none_of_ours() {
        let everything = "*filter\n-A KUBE-FIREWALL -d 127.0.0.0/8 -j DROP\nCOMMIT\n";
        let saved = "*filter\n:KUBE-FIREWALL - [0:0]\n-A KUBE-FIREWALL -m mark --mark 0x8000/0x8000 -j DROP\nCOMMIT\n";
        assert_eq!(look(everything, saved), Found::OtherCount);
    }
}
