//! Types of expressions and when one may stand for another. Pure.

use std::collections::HashMap;
use std::fmt;

/// A type, written as upstream writes it in its messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// Known when the expression runs: `dyn`, or `any` where the declaration says so.
    Dyn(&'static str),
    /// One already told of: it causes no further messages.
    Error,
    Null,
    /// `int`, `string`, `kubernetes.Quantity`, …
    Named(String),
    List(Box<Type>),
    Map(Box<Type>, Box<Type>),
    Optional(Box<Type>),
    /// The type of a type.
    Meta(Box<Type>),
    /// Not known yet.
    Var(u32),
}

pub const DYN: Type = Type::Dyn("dyn");
pub const ANY: Type = Type::Dyn("any");

impl Type {
    pub fn named(name: &str) -> Self {
        Self::Named(name.to_owned())
    }

    pub fn list(element: Self) -> Self {
        Self::List(Box::new(element))
    }

    pub fn map(key: Self, value: Self) -> Self {
        Self::Map(Box::new(key), Box::new(value))
    }

    pub fn optional(of: Self) -> Self {
        Self::Optional(Box::new(of))
    }

    pub fn is_named(&self, name: &str) -> bool {
        matches!(self, Self::Named(own) if own == name)
    }

    /// Anything may be done with it as far as is known here.
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Dyn(_) | Self::Error)
    }

    /// Reads `list(A)`, `map(A, B)`, `optional(A)`, `type(A)` and names; a capital letter is a type yet unknown.
    pub fn parse(text: &str) -> Self {
        let inside = |name: &str| text.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')');
        if let Some(of) = inside("list") {
            return Self::list(Self::parse(of));
        }
        if let Some(of) = inside("optional") {
            return Self::optional(Self::parse(of));
        }
        if let Some(of) = inside("type") {
            return Self::Meta(Box::new(Self::parse(of)));
        }
        if let Some((key, value)) = inside("map").and_then(|of| of.split_once(", ")) {
            return Self::map(Self::parse(key), Self::parse(value));
        }
        match text.as_bytes() {
            b"dyn" => DYN,
            [letter @ b'A'..=b'Z'] => Self::Var(u32::from(letter - b'A')),
            _ => Self::named(text),
        }
    }

    /// With every unknown moved by `offset`, so that two uses of a declaration do not meet.
    pub fn fresh(&self, offset: u32) -> Self {
        match self {
            Self::Var(number) => Self::Var(number + offset),
            other => other.rebuilt(&mut |inner| inner.fresh(offset)),
        }
    }

    fn rebuilt(&self, each: &mut dyn FnMut(&Self) -> Self) -> Self {
        match self {
            Self::List(of) => Self::list(each(of)),
            Self::Map(key, value) => Self::map(each(key), each(value)),
            Self::Optional(of) => Self::optional(each(of)),
            Self::Meta(of) => Self::Meta(Box::new(each(of))),
            other => other.clone(),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dyn(name) => f.write_str(name),
            Self::Error => f.write_str("!error!"),
            Self::Null => f.write_str("null"),
            Self::Named(name) => f.write_str(name),
            Self::List(of) => write!(f, "list({of})"),
            Self::Map(key, value) => write!(f, "map({key}, {value})"),
            Self::Optional(of) => write!(f, "optional_type({of})"),
            Self::Meta(of) => write!(f, "type({of})"),
            Self::Var(_) => f.write_str("dyn"),
        }
    }
}

/// What the unknown types have turned out to be.
#[derive(Clone, Debug, Default)]
pub struct Known(HashMap<u32, Type>);

impl Known {
    pub fn resolve(&self, of: &Type) -> Type {
        match of {
            Type::Var(number) => self.0.get(number).map_or_else(|| of.clone(), |bound| self.resolve(bound)),
            other => other.rebuilt(&mut |inner| self.resolve(inner)),
        }
    }

    /// Whether a value of one type may stand where the other is wanted; learns what follows when it may.
    pub fn accept(&mut self, given: &Type, wanted: &Type) -> bool {
        let mut trial = self.clone();
        let good = trial.fits(given, wanted);
        if good {
            *self = trial;
        }
        good
    }

    /// As [`Known::accept`], of several at once.
    pub fn accept_all(&mut self, given: &[Type], wanted: &[Type]) -> bool {
        let mut trial = self.clone();
        let good =
            given.len() == wanted.len() && given.iter().zip(wanted).all(|(given, wanted)| trial.fits(given, wanted));
        if good {
            *self = trial;
        }
        good
    }

    fn fits(&mut self, given: &Type, wanted: &Type) -> bool {
        let (given, wanted) = (self.resolve(given), self.resolve(wanted));
        match (&given, &wanted) {
            (a, b) if a == b => true,
            (other, Type::Var(number)) | (Type::Var(number), other) => {
                // A type does not hold itself.
                let holds = Self::mentions(other, *number);
                if !holds {
                    self.0.insert(*number, other.clone());
                }
                !holds
            }
            (a, b) if a.is_open() || b.is_open() => true,
            (Type::Null, Type::Named(name)) | (Type::Named(name), Type::Null) => is_nullable(name),
            (Type::Null, Type::Optional(_)) => true,
            (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => self.fits(a, b),
            (Type::Map(a, x), Type::Map(b, y)) => self.fits(a, b) && self.fits(x, y),
            (Type::Meta(_), Type::Meta(_)) => true,
            _ => false,
        }
    }

    fn mentions(of: &Type, number: u32) -> bool {
        match of {
            Type::Var(own) => *own == number,
            Type::List(of) | Type::Optional(of) | Type::Meta(of) => Self::mentions(of, number),
            Type::Map(key, value) => Self::mentions(key, number) || Self::mentions(value, number),
            _ => false,
        }
    }
}

fn is_nullable(name: &str) -> bool {
    !matches!(name, "bool" | "int" | "uint" | "double" | "string" | "bytes")
}
