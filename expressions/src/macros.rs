//! Macros beyond the language's own: what `cel.bind`, `optMap` and the comprehensions of two variables stand for.

use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, ListExpr, LiteralValue};
use cel::parser::{Macro, MacroExprHelper, ParseError};

const RESULT: &str = "@result";

type Expansion = Result<Option<IdedExpr>, ParseError>;

pub fn all() -> Vec<Macro> {
    vec![
        Macro::receiver("bind", 3, bind),
        Macro::receiver("optMap", 2, |helper, target, args| opt_map(helper, target, args, true)),
        Macro::receiver("optFlatMap", 2, |helper, target, args| opt_map(helper, target, args, false)),
        Macro::receiver("all", 3, |helper, target, args| quantifier(helper, target, args, "_&&_", true)),
        Macro::receiver("exists", 3, |helper, target, args| quantifier(helper, target, args, "_||_", false)),
    ]
}

fn name_of(expr: &IdedExpr) -> Option<String> {
    match &expr.expr {
        Expr::Ident(name) => Some(name.clone()),
        _ => None,
    }
}

fn ident(helper: &mut MacroExprHelper<'_>, name: &str) -> IdedExpr {
    helper.next_expr(Expr::Ident(name.to_owned()))
}

fn literal(helper: &mut MacroExprHelper<'_>, value: bool) -> IdedExpr {
    helper.next_expr(Expr::Literal(LiteralValue::Boolean(value.into())))
}

fn called(helper: &mut MacroExprHelper<'_>, name: &str, target: Option<IdedExpr>, args: Vec<IdedExpr>) -> IdedExpr {
    helper.next_expr(Expr::Call(CallExpr { func_name: name.to_owned(), target: target.map(Box::new), args }))
}

/// A loop over nothing, whose result is the value with the name bound.
fn bound(helper: &mut MacroExprHelper<'_>, name: String, init: IdedExpr, result: IdedExpr) -> IdedExpr {
    let comprehension = ComprehensionExpr {
        iter_range: helper.next_expr(Expr::List(ListExpr::new(Vec::new()))),
        iter_var: "#unused".to_owned(),
        iter_var2: None,
        accu_init: init,
        loop_cond: literal(helper, false),
        loop_step: ident(helper, &name),
        accu_var: name,
        result,
    };
    helper.next_expr(Expr::Comprehension(Box::new(comprehension)))
}

fn bind(helper: &mut MacroExprHelper<'_>, target: &mut Option<IdedExpr>, args: &mut Vec<IdedExpr>) -> Expansion {
    if target.as_ref().and_then(name_of).as_deref() != Some("cel") {
        return Ok(None);
    }
    let Some(name) = name_of(&args[0]) else {
        return Err(helper.new_error(args[0].id, "cel.bind() variable names must be simple identifiers"));
    };
    let (Some(result), Some(init)) = (args.pop(), args.pop()) else { return Ok(None) };
    Ok(Some(bound(helper, name, init, result)))
}

fn opt_map(
    helper: &mut MacroExprHelper<'_>,
    target: &mut Option<IdedExpr>,
    args: &mut Vec<IdedExpr>,
    wraps: bool,
) -> Expansion {
    let Some(name) = name_of(&args[0]) else {
        return Err(helper.new_error(args[0].id, "optMap() variable name must be a simple identifier"));
    };
    let (Some(result), Some(optional)) = (args.pop(), target.take()) else { return Ok(None) };
    let value = called(helper, "value", Some(optional.clone()), Vec::new());
    let mut mapped = bound(helper, name, value, result);
    let library = |helper: &mut MacroExprHelper<'_>| Some(ident(helper, "optional"));
    if wraps {
        let target = library(helper);
        mapped = called(helper, "of", target, vec![mapped]);
    }
    let has = called(helper, "hasValue", Some(optional), Vec::new());
    let target = library(helper);
    let none = called(helper, "none", target, Vec::new());
    Ok(Some(called(helper, "_?_:_", None, vec![has, mapped, none])))
}

/// `all` and `exists` over index and item, or key and value.
fn quantifier(
    helper: &mut MacroExprHelper<'_>,
    target: &mut Option<IdedExpr>,
    args: &mut Vec<IdedExpr>,
    operator: &str,
    begins: bool,
) -> Expansion {
    let (Some(first), Some(second)) = (name_of(&args[0]), name_of(&args[1])) else {
        return Err(helper.new_error(args[0].id, "argument must be a simple name"));
    };
    let (Some(predicate), Some(range)) = (args.pop(), target.take()) else { return Ok(None) };
    let mut goes_on = ident(helper, RESULT);
    if !begins {
        goes_on = called(helper, "!_", None, vec![goes_on]);
    }
    let result = ident(helper, RESULT);
    let comprehension = ComprehensionExpr {
        iter_range: range,
        iter_var: first,
        iter_var2: Some(second),
        accu_var: RESULT.to_owned(),
        accu_init: literal(helper, begins),
        loop_cond: called(helper, "@not_strictly_false", None, vec![goes_on]),
        loop_step: called(helper, operator, None, vec![result, predicate]),
        result: ident(helper, RESULT),
    };
    Ok(Some(helper.next_expr(Expr::Comprehension(Box::new(comprehension)))))
}
