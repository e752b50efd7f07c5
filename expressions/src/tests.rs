//! Expressions as tables: what compiles, what is refused and in which words, what it costs.

use super::*;

fn declarations() -> Declarations {
    Declarations {
        variables: vec![("thing", Type::named("test.Thing"))],
        fields: |of, field| match (of, field) {
            ("test.Thing", "name") => Some(Type::named("string")),
            ("test.Thing", "parts") => Some(Type::map(Type::named("string"), ANY)),
            ("test.Thing", "counts") => Some(Type::list(Type::named("int"))),
            _ => None,
        },
    }
}

fn sizes(path: &[String]) -> Option<u64> {
    match path.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["thing", "name"] => Some(60),
        ["thing", "parts"] => Some(32),
        ["thing", "parts", "@keys"] => Some(20),
        _ => None,
    }
}

fn outcome(source: &str) -> Result<String, String> {
    compile(source, &declarations(), sizes).map(|compiled| compiled.result.to_string())
}

#[test]
fn expressions_have_types() {
    for (source, wanted) in [
        ("true", "bool"),
        ("1 + 2", "int"),
        ("thing.name + 'x'", "string"),
        ("thing.name.startsWith('a') && size(thing.counts) > 2", "bool"),
        ("thing.parts['a']", "any"),
        ("thing.parts.a.b", "dyn"),
        ("thing.parts['a'] == 'x' || thing.parts.b > 3", "bool"),
        ("thing.counts.all(c, c > 0)", "bool"),
        ("thing.counts.map(c, c * 2)", "list(int)"),
        ("thing.counts.filter(c, c > 1).size()", "int"),
        ("thing.parts.exists(k, k == 'a')", "bool"),
        ("thing.parts.all(k, v, k != '' && v != 1)", "bool"),
        ("cel.bind(p, thing.parts, p.a && p.b)", "bool"),
        ("quantity('1Gi').compareTo(quantity('2Gi')) < 0", "bool"),
        ("has(thing.name) ? 1 : 2", "int"),
        ("sets.contains([1, 2], [1])", "bool"),
        ("ip('::1').family()", "int"),
        ("thing.?name.orValue('x')", "string"),
        ("optional.of(1).optMap(x, x + 1).value()", "int"),
        ("{'a': 1}['a']", "int"),
        ("[]", "list(dyn)"),
        ("type(1) == int", "bool"),
        ("'a' in thing.parts", "bool"),
        ("format.dns1123Label().validate('a').hasValue()", "bool"),
        ("[1, 2].isSorted()", "bool"),
        ("1 < 2.0", "bool"),
    ] {
        assert_eq!(outcome(source).as_deref(), Ok(wanted), "{source}");
    }
}

#[test]
fn faults_are_told_in_upstreams_words() {
    for (source, wanted) in [
        (
            "Not A_valid/Value",
            "ERROR: <input>:1:5: Syntax error: mismatched input 'A_valid' expecting <EOF>\n | Not A_valid/Value\n | ....^",
        ),
        ("nothing", "ERROR: <input>:1:1: undeclared reference to 'nothing' (in container '')\n | nothing\n | ^"),
        (
            "1 + 'a'",
            "ERROR: <input>:1:3: found no matching overload for '_+_' applied to '(int, string)'\n | 1 + 'a'\n | ..^",
        ),
        ("thing.color", "ERROR: <input>:1:6: undefined field 'color'\n | thing.color\n | .....^"),
        (
            "thing.name.contains(1)",
            "ERROR: <input>:1:20: found no matching overload for 'contains' applied to 'string.(int)'\n | thing.name.contains(1)\n | ...................^",
        ),
        ("f(1)", "ERROR: <input>:1:2: undeclared reference to 'f' (in container '')\n | f(1)\n | .^"),
        (
            "1.all(x, x > 1)",
            "ERROR: <input>:1:1: expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)\n | 1.all(x, x > 1)\n | ^",
        ),
        (
            "thing.name.x",
            "ERROR: <input>:1:11: type 'string' does not support field selection\n | thing.name.x\n | ..........^",
        ),
        ("true &&\n a", "ERROR: <input>:2:2: undeclared reference to 'a' (in container '')\n |  a\n | .^"),
        (
            "",
            "ERROR: <input>:1:0: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}",
        ),
    ] {
        assert_eq!(outcome(source).unwrap_err(), wanted, "{source}");
    }
}

#[test]
fn costs_are_bounded_or_too_high() {
    let cost = |source: &str| compile(source, &declarations(), sizes).expect(source).cost_max;
    assert_eq!(cost("true"), 0);
    assert!(cost("thing.name == 'abc'") < 10);
    let once = cost("thing.parts.all(a, a != 'x')");
    let twice = cost("thing.parts.all(a, thing.parts.all(b, a != b))");
    assert!(once < 300 && twice > 30 * 32 && twice < 20_000, "{once} {twice}");
    assert!(cost("thing.counts.all(a, a > 1)") > 1 << 60, "a list without limit cannot be bounded");
}
