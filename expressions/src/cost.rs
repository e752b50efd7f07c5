//! The most that an expression may cost to run, in upstream's units. Pure.
//!
//! An upper bound: sizes that are not known are taken to be without limit, so that what cannot be bounded costs too much.

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue};

/// Sizes of the variables' parts, by path: `@values` stands for any value of a map.
pub type Sizes = fn(path: &[String]) -> Option<u64>;

/// Unknown, or more than can be counted.
pub const UNBOUNDED: u64 = u64::MAX;

pub struct Estimator {
    pub sizes: Sizes,
    /// What loops bind: a name and the path that it goes over.
    scopes: Vec<(String, Option<Vec<String>>)>,
}

impl Estimator {
    pub fn new(sizes: Sizes) -> Self {
        Self { sizes, scopes: Vec::new() }
    }

    pub fn cost(&mut self, expr: &IdedExpr) -> u64 {
        match &expr.expr {
            Expr::Unspecified | Expr::Literal(_) => 0,
            Expr::Ident(_) => 1,
            // Asking whether a field is there is free, but for what it is a field of.
            Expr::Select(select) => self.cost(&select.operand).saturating_add(u64::from(!select.test)),
            Expr::Call(call) => self.call(call),
            Expr::List(list) => self.sum(&list.elements).saturating_add(10),
            Expr::Map(map) => self.entries(&map.entries).saturating_add(30),
            Expr::Struct(made) => self.entries(&made.entries).saturating_add(40),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
        }
    }

    fn sum(&mut self, exprs: &[IdedExpr]) -> u64 {
        exprs.iter().map(|expr| self.cost(expr)).fold(0, u64::saturating_add)
    }

    fn entries(&mut self, entries: &[cel::common::ast::IdedEntryExpr]) -> u64 {
        let cost = |estimator: &mut Self, entry: &EntryExpr| match entry {
            EntryExpr::MapEntry(entry) => estimator.cost(&entry.key).saturating_add(estimator.cost(&entry.value)),
            EntryExpr::StructField(field) => estimator.cost(&field.value),
        };
        entries.iter().map(|entry| cost(self, &entry.expr)).fold(0, u64::saturating_add)
    }

    fn call(&mut self, call: &CallExpr) -> u64 {
        let parts: Vec<&IdedExpr> = call.target.as_deref().into_iter().chain(&call.args).collect();
        let before = parts.iter().map(|part| self.cost(part)).fold(0, u64::saturating_add);
        let size = |at: usize| parts.get(at).map_or(0, |part| self.size(part));
        let own = match call.func_name.as_str() {
            // Cheaper on what is short, and no longer than the shorter of the two.
            "_==_" | "_!=_" | "_<_" | "_<=_" | "_>_" | "_>=_" => tenth(size(0).min(size(1))).max(1),
            "_+_" => tenth(size(0).saturating_add(size(1))).max(1),
            "@in" => size(1).max(1),
            "startsWith" | "endsWith" => tenth(size(1)).max(1),
            "contains" | "indexOf" | "lastIndexOf" => tenth(size(0)).max(1).saturating_mul(tenth(size(1)).max(1)),
            "matches" | "find" | "findAll" => {
                tenth(size(0).saturating_add(1)).max(1).saturating_mul((size(1) / 4).max(1))
            }
            "lowerAscii" | "upperAscii" | "replace" | "split" | "substring" | "trim" | "join" | "string" | "bytes"
            | "quantity" | "isQuantity" | "semver" | "isSemver" | "ip" | "isIP" | "cidr" | "isCIDR" | "url"
            | "isURL" | "validate" | "format" => tenth(size(0)).max(1),
            "isSorted" | "sum" | "max" | "min" | "sort" | "distinct" | "flatten" | "reverse" | "slice" => {
                size(0).max(1)
            }
            "equivalent" | "intersects" => size(1).max(1).saturating_mul(size(2).max(1)),
            _ => 1,
        };
        before.saturating_add(own)
    }

    fn comprehension(&mut self, comprehension: &ComprehensionExpr) -> u64 {
        let before = self.cost(&comprehension.iter_range).saturating_add(self.cost(&comprehension.accu_init));
        let (items, path) = (self.size(&comprehension.iter_range), self.path(&comprehension.iter_range));
        let depth = self.scopes.len();
        let below = |name: &str| path.clone().map(|path| [path, vec![name.to_owned()]].concat());
        self.scopes.push((comprehension.accu_var.clone(), self.path(&comprehension.accu_init)));
        match &comprehension.iter_var2 {
            Some(second) => {
                self.scopes.push((comprehension.iter_var.clone(), below("@keys")));
                self.scopes.push((second.clone(), below("@values")));
            }
            None => self.scopes.push((comprehension.iter_var.clone(), below("@keys"))),
        }
        let each = self.cost(&comprehension.loop_cond).saturating_add(self.cost(&comprehension.loop_step));
        let result = self.cost(&comprehension.result);
        self.scopes.truncate(depth);
        before.saturating_add(each.saturating_mul(items)).saturating_add(result)
    }

    /// How long a value may be: letters, items or entries.
    fn size(&self, expr: &IdedExpr) -> u64 {
        match &expr.expr {
            Expr::Literal(LiteralValue::String(text)) => text.inner().chars().count() as u64,
            Expr::Literal(LiteralValue::Bytes(bytes)) => bytes.inner().len() as u64,
            Expr::Literal(_) => 1,
            Expr::List(list) => list.elements.len() as u64,
            Expr::Map(map) => map.entries.len() as u64,
            Expr::Call(call) if call.func_name == "_+_" => {
                call.args.iter().map(|part| self.size(part)).fold(0, u64::saturating_add)
            }
            Expr::Call(call) if is_scalar(&call.func_name) => 1,
            _ => self.path(expr).and_then(|path| (self.sizes)(&path)).unwrap_or(UNBOUNDED),
        }
    }

    fn path(&self, expr: &IdedExpr) -> Option<Vec<String>> {
        let below = |of: &IdedExpr, name: &str| Some([self.path(of)?, vec![name.to_owned()]].concat());
        match &expr.expr {
            Expr::Ident(name) => match self.scopes.iter().rev().find(|(own, _)| own == name) {
                Some((_, path)) => path.clone(),
                None => Some(vec![name.clone()]),
            },
            Expr::Select(select) => below(&select.operand, &select.field),
            Expr::Call(call) if call.func_name == "_[_]" => below(call.args.first()?, "@values"),
            _ => None,
        }
    }
}

fn tenth(size: u64) -> u64 {
    size.div_ceil(10)
}

/// Functions that give a number or a truth, whose size is one.
fn is_scalar(name: &str) -> bool {
    const NAMES: [&str; 18] = [
        "size",
        "int",
        "uint",
        "double",
        "bool",
        "compareTo",
        "sign",
        "asInteger",
        "asApproximateFloat",
        "major",
        "minor",
        "patch",
        "indexOf",
        "lastIndexOf",
        "family",
        "prefixLength",
        "duration",
        "timestamp",
    ];
    NAMES.contains(&name) || (name.starts_with('_') && !matches!(name, "_[_]" | "_?_:_" | "_+_" | "_[?_]" | "_?._"))
}
