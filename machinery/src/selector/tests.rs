//! Selectors: parsing, matching, and how they are written.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;

fn labels(text: &str) -> BTreeMap<String, String> {
    text.split(',').filter_map(|pair| pair.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

#[test]
fn label_selectors_match() {
    let table = [
        ("", "", true),
        ("", "a=b", true),
        ("a=b", "a=b", true),
        ("a==b", "a=b,c=d", true),
        ("a=b", "a=c", false),
        ("a=b", "", false),
        ("a=", "a=", true),
        ("a=", "", false),
        ("a!=b", "a=c", true),
        ("a!=b", "", true),
        ("a!=b", "a=b", false),
        ("a in (b, c)", "a=c", true),
        ("a in (b,c)", "a=d", false),
        ("a in (b,c)", "", false),
        ("a in ()", "a=", true),
        ("a notin (b,c)", "a=d", true),
        ("a notin (b,c)", "", true),
        ("a notin (b,c)", "a=b", false),
        ("a", "a=", true),
        ("a", "b=a", false),
        ("!a", "b=a", true),
        ("! a", "a=b", false),
        ("a>5", "a=6", true),
        ("a>5", "a=5", false),
        ("a<5", "a=-7", true),
        ("a<5", "a=x", false),
        ("a<5", "", false),
        ("a,b=c,!d", "a=1,b=c", true),
        ("a,b=c,!d", "a=1,b=c,d=", false),
        ("in in (in,notin)", "in=notin", true),
        ("example.com/role=web", "example.com/role=web", true),
    ];
    for (selector, set, expected) in table {
        let parsed = Selector::parse(selector).unwrap();
        assert_eq!(parsed.matches_labels(Some(&labels(set))), expected, "{selector} on {set}");
        let value = json!(labels(set));
        assert_eq!(parsed.matches_value(Some(&value)), expected, "{selector} on {value}");
    }
}

#[test]
fn label_selectors_print_sorted() {
    let table = [
        ("", ""),
        ("  b = 1 , a==2 ", "a==2,b=1"),
        ("z,!y,x!=1", "x!=1,!y,z"),
        ("k in (c,a,b,a)", "k in (a,b,c)"),
        ("k notin (,a)", "k notin (,a)"),
        ("k in (a,)", "k in (,a)"),
        ("k in (,,a)", "k in (,a)"),
        ("k in (a,,b)", "k in (,a,b)"),
        ("k in ()", "k in ()"),
        ("n>1,m<2", "m<2,n>1"),
        ("a=", "a="),
        ("a=,b=", "a=,b="),
        ("a=in", "a=in"),
    ];
    for (text, printed) in table {
        assert_eq!(Selector::parse(text).unwrap().to_string(), printed, "{text}");
    }
}

#[test]
fn label_selector_syntax_errors() {
    let table = [
        (",", "found ',', expected: !, identifier, or 'end of string'"),
        ("=a", "found '=', expected: !, identifier, or 'end of string'"),
        ("a,", "found '', expected: identifier after ','"),
        ("a,,b", "found ',', expected: identifier after ','"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a=b c", "found 'c', expected: ',' or 'end of string'"),
        ("!", "unable to parse requirement: found '', expected: identifier"),
        ("!a=b", "found '=', expected: ',' or 'end of string'"),
        ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        ("a in (", "unable to parse requirement: found '', expected: ',', ')' or identifier"),
        ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("a in (b c)", "unable to parse requirement: found 'c', expected: ',' or ')'"),
        ("a in (=)", "unable to parse requirement: found '=', expected: ',', ')' or identifier"),
        ("a==!b", "unable to parse requirement: found '!', expected: identifier"),
        (
            "a>x",
            "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer",
        ),
    ];
    for (text, message) in table {
        assert_eq!(Selector::parse(text).map(|s| s.to_string()), Err(Error(message.into())), "{text}");
    }
    let key = Selector::parse("a/b/c=d").unwrap_err().to_string();
    assert!(key.starts_with("unable to parse requirement: <nil>: Invalid value: \"a/b/c\": a "), "{key}");
    let value = Selector::parse("a=-b").unwrap_err().to_string();
    assert!(
        value.starts_with("unable to parse requirement: values[0][a]: Invalid value: \"-b\": a valid label"),
        "{value}"
    );
}

#[test]
fn label_selector_objects() {
    let from = |value| Selector::from_label_selector(Some(&value));
    assert!(Selector::from_label_selector(None).unwrap().is_nothing());
    assert!(from(json!(null)).unwrap().is_nothing());
    assert!(from(json!({})).unwrap().is_everything());
    assert!(!Selector::nothing().matches_labels(None));
    let selector = from(json!({
        "matchLabels": {"app": "web"},
        "matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["x", "y"]},
            {"key": "old", "operator": "DoesNotExist"},
            {"key": "env", "operator": "NotIn", "values": ["test"]},
            {"key": "role", "operator": "Exists"},
        ],
    }))
    .unwrap();
    assert_eq!(selector.to_string(), "app=web,env notin (test),!old,role,tier in (x,y)");
    assert_eq!(selector.exact_match("app"), Some("web"));
    assert_eq!(selector.exact_match("tier"), None);
    let refused = [
        (json!([{"key": "a", "operator": "Gt", "values": ["1"]}]), "\"Gt\" is not a valid label selector operator"),
        (
            json!([{"key": "a", "operator": "In"}]),
            "values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty",
        ),
        (
            json!([{"key": "a", "operator": "Exists", "values": ["b"]}]),
            "values: Invalid value: [\"b\"]: values set must be empty for exists and does not exist",
        ),
    ];
    for (expressions, message) in refused {
        assert_eq!(from(json!({"matchExpressions": expressions})), Err(Error(message.into())));
    }
}

#[test]
fn field_selectors() {
    let table = [
        ("", "", true),
        ("a=b", "a=b", true),
        ("a==b", "a=c", false),
        ("a!=b", "a=c", true),
        ("a!=b", "", true),
        ("a=", "", true),
        ("a=b,c!=d", "a=b,c=e", true),
        ("a=b,c!=d", "a=b,c=d", false),
        ("spec.nodeName=n1", "spec.nodeName=n1", true),
        (",,a=b,", "a=b", true),
        ("=", "a=b", true),
    ];
    for (selector, set, expected) in table {
        let set = labels(set);
        let parsed = FieldSelector::parse(selector).unwrap();
        assert_eq!(parsed.matches(|field| set.get(field).map(String::as_str)), expected, "{selector}");
    }
}

#[test]
fn field_selector_text() {
    let table = [
        ("b=1,a=2", Ok("a=2,b=1")),
        (r"a=x\,y\=z\\", Ok(r"a=x\,y\=z\\")),
        ("a==b", Ok("a=b")),
        ("a!=b", Ok("a!=b")),
        ("a", Err("invalid selector: 'a'; can't understand 'a'")),
        ("a=b,c", Err("invalid selector: 'a=b,c'; can't understand 'c'")),
        ("a=b=c", Err("invalid field selector: unescaped character in value: 61")),
        (r"a=\x", Err(r"invalid field selector: invalid escape sequence: \x")),
        (r"a=b\", Err(r"invalid field selector: invalid escape sequence: \")),
    ];
    for (text, expected) in table {
        let got = FieldSelector::parse(text).map(|s| s.to_string());
        assert_eq!(got, expected.map(str::to_owned).map_err(|e| Error(e.into())), "{text}");
    }
    assert_eq!(FieldSelector::parse(r"a=x\,y").unwrap().exact_match("a"), Some("x,y"));
    assert_eq!(FieldSelector::parse("a!=x").unwrap().exact_match("a"), None);
}
