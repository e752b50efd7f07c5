//! Gives every part of an expression its type, and says what does not fit, in upstream's words.
//!
//! Enter at [`Checker::check`]. Pure.

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SelectExpr};

use super::functions::{self, Overload};
use super::types::{DYN, Known, Type};

/// A fault at a node of the tree.
#[derive(Debug)]
pub struct Fault {
    pub id: u64,
    pub message: String,
}

/// Names and the types of objects.
pub struct Declarations {
    pub variables: Vec<(&'static str, Type)>,
    /// Fields of the named types that are no messages of the language.
    pub fields: fn(of: &str, field: &str) -> Option<Type>,
}

const TYPE_NAMES: [&str; 9] = ["bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type"];
/// Declarations use letters; what is made while checking is numbered from here.
const FRESH_FROM: u32 = 26;

pub struct Checker<'a> {
    declarations: &'a Declarations,
    scopes: Vec<(String, Type)>,
    known: Known,
    next_var: u32,
    pub faults: Vec<Fault>,
}

impl<'a> Checker<'a> {
    pub fn new(declarations: &'a Declarations) -> Self {
        Self { declarations, scopes: Vec::new(), known: Known::default(), next_var: FRESH_FROM, faults: Vec::new() }
    }

    /// The type of an expression.
    pub fn check(&mut self, expr: &IdedExpr) -> Type {
        let found = match &expr.expr {
            Expr::Unspecified => Type::Error,
            Expr::Literal(literal) => literal_type(literal),
            Expr::Ident(name) => self.ident(expr.id, name),
            Expr::Select(select) => self.select(expr.id, select),
            Expr::Call(call) => self.call(expr.id, call),
            Expr::List(list) => self
                .join(
                    list.elements
                        .iter()
                        .enumerate()
                        .map(|(at, element)| (element, list.optional_indices.contains(&at))),
                )
                .map_list(),
            Expr::Map(map) => self.map(&map.entries),
            Expr::Struct(made) => self.undeclared(expr.id, &made.type_name),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
        };
        self.known.resolve(&found)
    }

    fn fault(&mut self, id: u64, message: String) -> Type {
        self.faults.push(Fault { id, message });
        Type::Error
    }

    fn undeclared(&mut self, id: u64, name: &str) -> Type {
        self.fault(id, format!("undeclared reference to '{name}' (in container '')"))
    }

    fn var(&mut self) -> Type {
        self.next_var += 1;
        Type::Var(self.next_var)
    }

    fn find(&self, name: &str) -> Option<Type> {
        let scoped = self.scopes.iter().rev().find(|(own, _)| own == name).map(|(_, of)| of.clone());
        let declared = || self.declarations.variables.iter().find(|(own, _)| *own == name).map(|(_, of)| of.clone());
        let named = || TYPE_NAMES.contains(&name).then(|| Type::Meta(Box::new(Type::named(name))));
        scoped.or_else(declared).or_else(named)
    }

    fn ident(&mut self, id: u64, name: &str) -> Type {
        self.find(name).unwrap_or_else(|| self.undeclared(id, name))
    }

    fn select(&mut self, id: u64, select: &SelectExpr) -> Type {
        let of = self.check(&select.operand);
        let found = self.field(id, &of, &select.field);
        if select.test { Type::named("bool") } else { found }
    }

    fn field(&mut self, id: u64, of: &Type, field: &str) -> Type {
        match of {
            Type::Map(_, value) => (**value).clone(),
            of if of.is_open() => {
                if matches!(of, Type::Error) {
                    Type::Error
                } else {
                    DYN
                }
            }
            Type::Var(_) => DYN,
            Type::Optional(inner) => Type::optional(self.field(id, inner, field)),
            Type::Named(name) if name.contains('.') => {
                let found = (self.declarations.fields)(name, field);
                found.unwrap_or_else(|| self.fault(id, format!("undefined field '{field}'")))
            }
            other => self.fault(id, format!("type '{other}' does not support field selection")),
        }
    }

    fn call(&mut self, id: u64, call: &CallExpr) -> Type {
        if call.func_name == "_?._" {
            return self.optional_select(id, call);
        }
        let Some(target) = &call.target else {
            let Some(overloads) = functions::find(&call.func_name) else {
                return self.undeclared(id, &call.func_name);
            };
            let arguments: Vec<Type> = call.args.iter().map(|argument| self.check(argument)).collect();
            return self.resolve(id, &call.func_name, overloads, &arguments, false);
        };
        // A name before the dot may be the function's own.
        if let Some(space) =
            qualified(target).filter(|space| self.find(space.split('.').next().unwrap_or_default()).is_none())
        {
            let name = format!("{space}.{}", call.func_name);
            if let Some(overloads) = functions::find(&name) {
                let arguments: Vec<Type> = call.args.iter().map(|argument| self.check(argument)).collect();
                return self.resolve(id, &name, overloads, &arguments, false);
            }
        }
        let arguments: Vec<Type> =
            std::iter::once(&**target).chain(&call.args).map(|argument| self.check(argument)).collect();
        match functions::find(&call.func_name) {
            Some(overloads) => self.resolve(id, &call.func_name, overloads, &arguments, true),
            None => self.undeclared(id, &call.func_name),
        }
    }

    /// `a.?b`.
    fn optional_select(&mut self, id: u64, call: &CallExpr) -> Type {
        let [operand, field] = call.args.as_slice() else { return Type::Error };
        let Expr::Literal(LiteralValue::String(field)) = &field.expr else { return Type::Error };
        let field = field.inner().to_owned();
        let of = self.check(operand);
        match self.field(id, &of, &field) {
            found @ Type::Optional(_) => found,
            found => Type::optional(found),
        }
    }

    fn resolve(&mut self, id: u64, name: &str, overloads: &[Overload], arguments: &[Type], is_member: bool) -> Type {
        let arguments: Vec<Type> = arguments.iter().map(|argument| self.known.resolve(argument)).collect();
        let mut result: Option<Type> = None;
        for overload in overloads.iter().filter(|overload| overload.is_member == is_member) {
            let offset = self.next_var + 1;
            let wanted: Vec<Type> = overload.arguments.iter().map(|wanted| wanted.fresh(offset)).collect();
            self.next_var += FRESH_FROM;
            if !self.known.accept_all(&arguments, &wanted) {
                continue;
            }
            let found = self.known.resolve(&overload.result.fresh(offset));
            result = Some(match result {
                None => found,
                Some(before) if before == found => before,
                // Which of them it is is known when the expression runs.
                Some(_) => DYN,
            });
        }
        result.unwrap_or_else(|| {
            let shown: Vec<String> = arguments.iter().map(Type::to_string).collect();
            let shown = match (is_member, shown.split_first()) {
                (true, Some((target, rest))) => format!("{target}.({})", rest.join(", ")),
                _ => format!("({})", shown.join(", ")),
            };
            self.fault(id, format!("found no matching overload for '{name}' applied to '{shown}'"))
        })
    }

    /// The common type of elements: of different ones it is `dyn`.
    fn join<'e>(&mut self, elements: impl Iterator<Item = (&'e IdedExpr, bool)>) -> Joined {
        let mut joined: Option<Type> = None;
        for (element, is_optional) in elements {
            let mut found = self.check(element);
            if is_optional && let Type::Optional(inner) = found {
                found = *inner;
            }
            joined = Some(match joined {
                None => found,
                Some(before) if self.known.accept(&found, &before) => before,
                Some(before) if before.is_open() => before,
                Some(before) => self.fault(element.id, format!("expected type '{before}' but found '{found}'")),
            });
        }
        Joined(joined.unwrap_or_else(|| self.var()))
    }

    fn map(&mut self, entries: &[cel::common::ast::IdedEntryExpr]) -> Type {
        let pairs: Vec<_> = entries
            .iter()
            .filter_map(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => Some(entry),
                EntryExpr::StructField(_) => None,
            })
            .collect();
        let keys = self.join(pairs.iter().map(|entry| (&entry.key, false)));
        let values = self.join(pairs.iter().map(|entry| (&entry.value, entry.optional)));
        Type::map(keys.0, values.0)
    }

    fn comprehension(&mut self, comprehension: &ComprehensionExpr) -> Type {
        let range = self.check(&comprehension.iter_range);
        let has_two = comprehension.iter_var2.is_some();
        let (first, second) = match &range {
            Type::List(of) if has_two => (Type::named("int"), (**of).clone()),
            Type::List(of) => ((**of).clone(), DYN),
            Type::Map(key, value) => ((**key).clone(), (**value).clone()),
            Type::Var(_) => (DYN, DYN),
            open if open.is_open() => (DYN, DYN),
            other => {
                let message = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                (self.fault(comprehension.iter_range.id, message), Type::Error)
            }
        };
        let accumulated = self.check(&comprehension.accu_init);
        let depth = self.scopes.len();
        self.scopes.push((comprehension.accu_var.clone(), accumulated.clone()));
        self.scopes.push((comprehension.iter_var.clone(), first));
        if let Some(name) = &comprehension.iter_var2 {
            self.scopes.push((name.clone(), second));
        }
        self.expect(&comprehension.loop_cond, &Type::named("bool"));
        self.expect(&comprehension.loop_step, &accumulated);
        // The result knows what was gathered, not the items.
        self.scopes.truncate(depth + 1);
        let result = self.check(&comprehension.result);
        self.scopes.truncate(depth);
        result
    }

    fn expect(&mut self, expr: &IdedExpr, wanted: &Type) {
        let found = self.check(expr);
        if !self.known.accept(&found, wanted) {
            let wanted = self.known.resolve(wanted);
            self.fault(expr.id, format!("expected type '{wanted}' but found '{found}'"));
        }
    }
}

struct Joined(Type);

impl Joined {
    fn map_list(self) -> Type {
        Type::list(self.0)
    }
}

fn literal_type(literal: &LiteralValue) -> Type {
    Type::named(match literal {
        LiteralValue::Boolean(_) => "bool",
        LiteralValue::Bytes(_) => "bytes",
        LiteralValue::Double(_) => "double",
        LiteralValue::Int(_) => "int",
        LiteralValue::String(_) => "string",
        LiteralValue::UInt(_) => "uint",
        LiteralValue::Null => return Type::Null,
    })
}

fn qualified(expr: &IdedExpr) -> Option<String> {
    match &expr.expr {
        Expr::Ident(name) => Some(name.clone()),
        Expr::Select(select) if !select.test => Some(format!("{}.{}", qualified(&select.operand)?, select.field)),
        _ => None,
    }
}
