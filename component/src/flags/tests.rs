//! pflag's habits, as tables.

use super::{Kind::*, *};

fn set() -> FlagSet {
    FlagSet::new("kube-example", "An example.")
        .group(
            "Generic flags",
            [
                flag("bind-address", Ip, "0.0.0.0", "The address."),
                flag("cluster-cidr", Cidr, "", "The pods' network."),
                flag("sync-period", Duration, "30s", "How often."),
                flag("workers", Int, "5", "How many."),
                flag("rate", Float, "1.5", "How fast."),
                flag("profiling", Bool, "true", "Whether."),
                flag("controllers", Strings, "*", "Which."),
                flag("admission-plugins", StringArray, "", "Which, one by one."),
                flag("feature-gates", Map, "", "What on, what off."),
                flag("name", String, "example", "Called what."),
                flag("ipvs-scheduler", String, "", "Of a mode that is not there.")
                    .without_effect("there is no IPVS mode"),
                flag("old-name", String, "", "Of old.").deprecated("use --name instead"),
                retired("address", "use --bind-address"),
            ],
        )
        .include(logging())
}

fn values(arguments: &[&str]) -> Values {
    set().parse(arguments.iter().copied()).unwrap()
}

fn error(arguments: &[&str]) -> std::string::String {
    let error = set().parse(arguments.iter().copied()).unwrap_err();
    assert_eq!(error.exit_code(), 1);
    error.to_string()
}

#[test]
fn what_is_not_given_has_its_default() {
    let values = values(&[]);
    assert_eq!(values.ip("bind-address"), Some([0, 0, 0, 0].into()));
    assert_eq!(values.cidr("cluster-cidr"), None);
    assert_eq!(values.duration("sync-period"), std::time::Duration::from_secs(30));
    assert_eq!((values.int("workers"), values.float("rate"), values.bool("profiling")), (5, 1.5, true));
    assert_eq!(values.strings("controllers"), ["*"]);
    assert!(values.strings("admission-plugins").is_empty() && values.map("feature-gates").is_empty());
    assert_eq!((values.str("name"), values.opt_str("ipvs-scheduler")), ("example", None));
    assert!(!values.is_given("name") && values.warnings().is_empty());
}

#[test]
fn values_come_in_every_form() {
    let forms = [
        vec!["--workers=7", "--name=n"],
        vec!["--workers", "7", "--name", "n"],
        vec!["--workers=1", "--workers=7", "--name=n"],
    ];
    for arguments in forms {
        let values = values(&arguments);
        assert_eq!((values.int("workers"), values.str("name")), (7, "n"), "{arguments:?}");
        assert!(values.is_given("workers"));
    }
    assert_eq!(values(&["--sync_period=1m", "--feature_gates=A_b=true"]).duration("sync-period").as_secs(), 60);
    assert_eq!(values(&["--feature_gates=A_b=true"]).map("feature-gates")["A_b"], "true");
    assert_eq!(values(&["--name", "-dash"]).str("name"), "-dash");
    assert_eq!(values(&["--workers=-1"]).int("workers"), -1);
    for (argument, level) in [("-v2", 2), ("-v=3", 3), ("--v=4", 4)] {
        assert_eq!(values(&[argument]).int("v"), level, "{argument}");
    }
    assert_eq!(values(&["-v", "5"]).int("v"), 5);
    assert_eq!(values(&["--bind-address="]).ip("bind-address"), None);
}

#[test]
fn a_bool_never_takes_the_next_argument() {
    assert!(values(&["--profiling"]).bool("profiling"));
    assert!(!values(&["--profiling=false"]).bool("profiling"));
    assert!(values(&["--profiling", "--workers=1"]).bool("profiling"));
    assert_eq!(error(&["--profiling", "false"]), "\"kube-example\" does not take any arguments, got [\"false\"]");
}

#[test]
fn lists_and_maps_add_up() {
    let values = values(&[
        "--controllers=a,b",
        "--controllers=c",
        "--admission-plugins=x,y",
        "--admission-plugins=z",
        "--feature-gates=A=true,B=false",
        "--feature-gates=B=true",
    ]);
    assert_eq!(values.strings("controllers"), ["a", "b", "c"]);
    assert_eq!(values.strings("admission-plugins"), ["x,y", "z"]);
    let gates: Vec<_> = values.map("feature-gates").into_iter().collect();
    assert_eq!(gates, [("A".to_owned(), "true".to_owned()), ("B".to_owned(), "true".to_owned())]);
}

#[test]
fn what_is_wrong_is_said_in_upstreams_words() {
    let cases: [(&[&str], &str); 9] = [
        (&["--foo"], "unknown flag: --foo"),
        (&["--worker=1"], "unknown flag: --worker (did you mean --workers?)"),
        (&["-x"], "unknown shorthand flag: 'x' in -x"),
        (&["--name"], "flag needs an argument: --name"),
        (&["stray"], "\"kube-example\" does not take any arguments, got [\"stray\"]"),
        (&["--address=1.2.3.4"], "unknown flag: --address (use --bind-address)"),
        (&["--address", "1.2.3.4"], "unknown flag: --address (use --bind-address)"),
        (
            &["--workers=ten"],
            "invalid argument \"ten\" for \"--workers\" flag: strconv.ParseInt: parsing \"ten\": invalid syntax",
        ),
        (
            &["--sync-period=5"],
            "invalid argument \"5\" for \"--sync-period\" flag: time: missing unit in duration \"5\"",
        ),
    ];
    for (arguments, wording) in cases {
        assert_eq!(error(arguments), wording, "{arguments:?}");
    }
}

#[test]
fn effectless_and_deprecated_flags_work_and_warn_by_name() {
    let values = values(&["--ipvs-scheduler=rr", "--old-name=x", "--name=y"]);
    assert_eq!(
        values.warnings(),
        [
            "flag --ipvs-scheduler has no effect: there is no IPVS mode",
            "Flag --old-name has been deprecated, use --name instead",
        ]
    );
}

#[test]
fn help_and_version_answer_and_end_well() {
    for argument in ["--help", "-h"] {
        let Err(Error::Help(text)) = set().parse([argument]) else { panic!("{argument} is no answer") };
        let rows = [
            "Generic flags:",
            "--bind-address ip     Default: 0.0.0.0",
            "[NO EFFECT: there is no IPVS mode]",
            "-v, --v int",
        ];
        rows.into_iter().for_each(|row| assert!(text.contains(row), "{row}\n{text}"));
        assert!(!text.contains("--address "), "retired flags are not shown");
    }
    let version = |argument: &str| match set().parse([argument]) {
        Err(Error::Version(text)) => text,
        other => panic!("{other:?}"),
    };
    assert_eq!(version("--version"), format!("Kubernetes {}", crate::version::GIT_VERSION));
    assert!(version("--version=raw").starts_with("version.Info{Major:\"1\", Minor:\"36\""));
    assert!(set().parse(["--version=false"]).is_ok());
}

#[test]
fn a_given_flag_wins_over_a_file() {
    let pick = |arguments: &[&str], file| values(arguments).or("workers", file, Values::int);
    assert_eq!((pick(&[], None), pick(&[], Some(9)), pick(&["--workers=7"], Some(9))), (5, 9, 7));
}

#[test]
fn the_shared_groups_are_sound() {
    let set =
        FlagSet::new("kube-example", "An example.").include(logging()).include(client()).include(leader_election());
    check_table(&secure_serving("10257").into_iter().fold(set, FlagSet::include));
    check_table(&self::set());
}

#[test]
#[should_panic(expected = "read by nobody: profiling, workers")]
fn a_flag_that_nobody_reads_is_found() {
    let flags =
        [flag("name", String, "", "Read."), flag("workers", Int, "", "Not."), flag("profiling", Bool, "", "Not.")];
    let set = FlagSet::new("kube-example", "An example.").group("Generic flags", flags);
    check_effective(&set, |values| drop(values.str("name").to_owned()), &[]);
}

#[test]
#[should_panic(expected = "flag workers is there twice")]
fn a_table_with_a_flag_twice_is_not_sound() {
    check_table(&set().group("More", [flag("workers", Int, "", "Again.")]));
}

#[test]
#[should_panic(expected = "read as Some(Bool)")]
fn reading_a_flag_as_what_it_is_not_is_a_bug() {
    values(&[]).bool("workers");
}
