//! What must hold of every table; components call it from a test.

use std::collections::BTreeSet;

use super::{Effect, FlagSet, Values, value};

/// Panics unless every row is sound: named once, in upstream's style, with a default of its kind and a help text; and
/// each row that has no effect says why, is marked in `--help`, and warns by its name when given.
///
/// Whether a row that claims to work is really read is for [`check_effective`].
pub fn check_table(set: &FlagSet) {
    let mut seen = BTreeSet::from(["help", "version"]);
    set.flags().for_each(|flag| assert!(seen.insert(flag.name), "flag {} is there twice", flag.name));
    let help = set.help(100);
    for flag in set.flags() {
        let name = flag.name;
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
        assert!(name.chars().all(plain), "flag {name}: not upstream's style");
        if let Effect::Retired { hint } = flag.effect {
            assert!(!hint.is_empty(), "flag {name} is retired without a hint");
            assert!(set.parse([format!("--{name}=x")]).is_err(), "flag {name} is retired, but taken");
            continue;
        }
        assert!(!flag.help.is_empty(), "flag {name} has no help text");
        let fits = flag.default.is_empty() || value::check(flag.kind, &flag.default).is_ok();
        assert!(fits, "flag {name}: default {:?} is no {:?}", flag.default, flag.kind);
        assert!(help.contains(&format!("--{name}")), "flag {name} is not in --help");
        if let Effect::None { reason } = flag.effect {
            check_without_effect(set, name, reason);
        }
    }
}

/// Panics unless `read` reads every row of the table that claims to work, or `elsewhere` names it: a flag that is parsed
/// and then ignored is a lie. `read` is what turns values into the component's options.
pub fn check_effective(set: &FlagSet, read: impl FnOnce(&Values), elsewhere: &[&str]) {
    let values = set.parse(Vec::<String>::new()).unwrap_or_else(|error| panic!("the defaults alone: {error}"));
    read(&values);
    let mut ignored = values.unread();
    ignored.retain(|name| !elsewhere.contains(name));
    assert!(ignored.is_empty(), "flags that claim to work and are read by nobody: {}", ignored.join(", "));
}

/// [`check_table`] and [`check_effective`] of a program whose logging is set up by whoever starts it.
pub fn check_program(set: &FlagSet, read: impl FnOnce(&Values)) {
    check_table(set);
    check_effective(set, read, &["logging-format", "v"]);
}

fn check_without_effect(set: &FlagSet, name: &str, reason: &str) {
    assert!(!reason.is_empty(), "flag {name} has no effect and does not say why");
    let given = ["true", "1", "1s", "a=b", "10.0.0.1", "10.0.0.0/8"];
    let values = given.iter().find_map(|text| set.parse([format!("--{name}={text}")]).ok());
    let warned = values.is_some_and(|values| values.warnings().iter().any(|w| w.contains(&format!("--{name}"))));
    assert!(warned, "flag {name} has no effect, and no warning says so");
}
