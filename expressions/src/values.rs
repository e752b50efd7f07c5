//! What expressions are run over, and the functions of Kubernetes's own types: quantities and versions (Kubernetes
//! concept: "Common Expression Language in Kubernetes", "Kubernetes CEL libraries").
//!
//! Pure.

use std::any::Any;
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::iter::once;

use cel::common::traits::{Container, Indexer, Iterable, Sizer};
use cel::common::types::{self, CelBool, CelDouble, CelInt, CelMap, CelMapKey, CelString, Type};
use cel::common::value::{CowVal, StaticVal, Val};
use cel::{DeclarationError, Env, ExecutionError};
use machinery::quantity::{Format, Quantity};
use semver::Version;

/// A value.
#[derive(Clone, Debug)]
pub enum Value {
    Bool(bool),
    Int(i64),
    Text(String),
    Quantity(Quantity),
    Version(Version),
    Map(BTreeMap<String, Value>),
    /// Holds an empty map where it holds nothing.
    Open(BTreeMap<String, Value>),
}

impl Value {
    /// Of a text as semver 2.0 has it. The error is for people.
    pub fn version(text: &str) -> Result<Self, String> {
        Version::parse(text).map(Self::Version).map_err(|error| error.to_string())
    }

    pub(crate) fn to_val(&self) -> Box<dyn Val> {
        match self {
            Self::Bool(value) => Box::new(CelBool::from(*value)),
            Self::Int(value) => Box::new(CelInt::from(*value)),
            Self::Text(value) => Box::new(CelString::from(value.clone())),
            Self::Quantity(value) => Box::new(OwnQuantity(value.clone())),
            Self::Version(value) => Box::new(OwnVersion(value.clone())),
            Self::Map(entries) => Box::new(map(entries)),
            Self::Open(entries) => Box::new(OpenMap(map(entries))),
        }
    }
}

fn map(entries: &BTreeMap<String, Value>) -> CelMap<'static> {
    let entry = |(key, value): (&String, &Value)| (CelMapKey::from(key.clone()), value.to_val());
    entries.iter().map(entry).collect::<HashMap<_, _>>().into()
}

#[derive(Clone, Debug)]
struct OpenMap(CelMap<'static>);

impl Val for OpenMap {
    fn get_type(&self) -> &Type {
        &types::MAP_TYPE
    }

    fn cel_type() -> &'static Type {
        &types::MAP_TYPE
    }

    fn as_container(&self) -> Option<&dyn Container> {
        self.0.as_container()
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_iterable<'b, 'v>(&'b self) -> Option<&'b (dyn Iterable + 'v)>
    where
        Self: 'v,
    {
        self.0.as_iterable()
    }

    fn as_sizer(&self) -> Option<&dyn Sizer> {
        self.0.as_sizer()
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(self.clone())
    }
}

impl Indexer for OpenMap {
    fn get<'b, 'v>(&'b self, key: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        match Indexer::get(&self.0, key) {
            Err(ExecutionError::NoSuchKey(_)) => Ok(CowVal::owned(CelMap::default())),
            found => found,
        }
    }

    fn steal<'v>(self: Box<Self>, key: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        Indexer::get(&*self, key).map(CowVal::into_owned)
    }
}

macro_rules! own_type {
    ($own:ident($inner:ty), $name:literal, $order:expr) => {
        #[derive(Clone, Debug)]
        struct $own($inner);

        impl $own {
            fn of(args: &[CowVal<'_, '_>], at: usize) -> Result<$inner, ExecutionError> {
                let found = args.get(at).and_then(|value| value.downcast_ref::<$own>());
                found.map(|found| found.0.clone()).ok_or_else(ExecutionError::missing_argument_or_target)
            }

            fn order(args: &[CowVal<'_, '_>]) -> Result<Ordering, ExecutionError> {
                let order: fn(&$inner, &$inner) -> Ordering = $order;
                Ok(order(&Self::of(args, 0)?, &Self::of(args, 1)?))
            }

            /// The functions that compare two of them.
            fn comparisons(env: &mut Env) -> Result<(), DeclarationError> {
                let (own, id) = (|| Self::cel_type().to_owned(), |name: &str| format!("{}_{name}", $name));
                let (greater, less, compare) = ("isGreaterThan", "isLessThan", "compareTo");
                env.add_member_overload(greater, &id(greater), own(), vec![own()], |args| {
                    Ok(truth($own::order(&args)? == Ordering::Greater))
                })?;
                env.add_member_overload(less, &id(less), own(), vec![own()], |args| {
                    Ok(truth($own::order(&args)? == Ordering::Less))
                })?;
                env.add_member_overload(compare, &id(compare), own(), vec![own()], |args| {
                    Ok(int($own::order(&args)? as i64))
                })
            }
        }

        impl Val for $own {
            fn get_type(&self) -> &Type {
                Self::cel_type()
            }

            fn cel_type() -> &'static Type {
                static TYPE: Type = Type::new_unspecified_type($name);
                &TYPE
            }

            fn equals(&self, other: &dyn Val) -> bool {
                let order: fn(&$inner, &$inner) -> Ordering = $order;
                other.downcast_ref::<$own>().is_some_and(|other| order(&self.0, &other.0) == Ordering::Equal)
            }

            fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
                Box::new(self.clone())
            }

            fn as_any(&self) -> Option<&dyn Any> {
                Some(self)
            }
        }

        impl StaticVal for $own {}
    };
}

own_type!(OwnQuantity(Quantity), "kubernetes.Quantity", Quantity::cmp);
own_type!(OwnVersion(Version), "kubernetes.Semver", Version::cmp_precedence);

fn truth<'b, 'v>(value: bool) -> CowVal<'b, 'v> {
    CowVal::owned(CelBool::from(value))
}

fn int<'b, 'v>(value: i64) -> CowVal<'b, 'v> {
    CowVal::owned(CelInt::from(value))
}

fn text(args: &[CowVal<'_, '_>], at: usize) -> Result<String, ExecutionError> {
    let found = args.get(at).and_then(|value| value.downcast_ref::<CelString<'_>>());
    found.map(|found| found.inner().to_owned()).ok_or_else(ExecutionError::missing_argument_or_target)
}

/// Kubernetes's functions.
pub(crate) fn functions(env: &mut Env) -> Result<(), DeclarationError> {
    OwnQuantity::comparisons(env)?;
    OwnVersion::comparisons(env)?;
    quantities(env)?;
    sums(env)?;
    versions(env)
}

fn quantities(env: &mut Env) -> Result<(), DeclarationError> {
    let own = || OwnQuantity::cel_type().to_owned();
    env.add_overload("quantity", "string_to_quantity", vec![types::STRING_TYPE], |args| {
        let parsed = Quantity::parse(&text(&args, 0)?);
        parsed.map(|found| CowVal::owned(OwnQuantity(found))).map_err(|e| ExecutionError::function_error("quantity", e))
    })?;
    env.add_overload("isQuantity", "is_quantity_string", vec![types::STRING_TYPE], |args| {
        Ok(truth(Quantity::parse(&text(&args, 0)?).is_ok()))
    })?;
    env.add_member_overload("sign", "quantity_sign", own(), vec![], |args| {
        Ok(int(OwnQuantity::of(&args, 0)?.sign().into()))
    })?;
    env.add_member_overload("isInteger", "quantity_is_integer", own(), vec![], |args| {
        Ok(truth(whole(&OwnQuantity::of(&args, 0)?).is_some()))
    })?;
    env.add_member_overload("asInteger", "quantity_as_integer", own(), vec![], |args| {
        let value = whole(&OwnQuantity::of(&args, 0)?);
        value.map(int).ok_or_else(|| ExecutionError::function_error("asInteger", "cannot convert value to integer"))
    })?;
    env.add_member_overload("asApproximateFloat", "quantity_as_float", own(), vec![], |args| {
        let text = OwnQuantity::of(&args, 0)?;
        Ok(CowVal::owned(CelDouble::from(approximate(&text))))
    })
}

/// As an integer, where it is one.
fn whole(quantity: &Quantity) -> Option<i64> {
    let value = quantity.value();
    (Quantity::new(value, Format::DecimalSi) == *quantity).then_some(value)
}

fn approximate(quantity: &Quantity) -> f64 {
    match quantity.milli_value() {
        // Too large for thousandths.
        i64::MAX | i64::MIN => quantity.value() as f64,
        milli => milli as f64 / 1000.0,
    }
}

fn sums(env: &mut Env) -> Result<(), DeclarationError> {
    let own = || OwnQuantity::cel_type().to_owned();
    fn second(args: &[CowVal<'_, '_>]) -> Result<Quantity, ExecutionError> {
        let number = args.get(1).and_then(|value| value.downcast_ref::<CelInt>());
        number.map_or_else(|| OwnQuantity::of(args, 1), |number| Ok(Quantity::new(*number.inner(), Format::DecimalSi)))
    }
    for (kind, other) in [("quantity", own()), ("int", types::INT_TYPE)] {
        env.add_member_overload("add", &format!("quantity_add_{kind}"), own(), vec![other.to_owned()], |args| {
            let mut sum = OwnQuantity::of(&args, 0)?;
            sum.add(&second(&args)?);
            Ok(CowVal::owned(OwnQuantity(sum)))
        })?;
        env.add_member_overload("sub", &format!("quantity_sub_{kind}"), own(), vec![other], |args| {
            let mut difference = OwnQuantity::of(&args, 0)?;
            difference.sub(&second(&args)?);
            Ok(CowVal::owned(OwnQuantity(difference)))
        })?;
    }
    Ok(())
}

fn versions(env: &mut Env) -> Result<(), DeclarationError> {
    fn parsed(args: &[CowVal<'_, '_>]) -> Result<Result<Version, semver::Error>, ExecutionError> {
        let text = text(args, 0)?;
        let normalizes =
            args.get(1).and_then(|value| value.downcast_ref::<CelBool>()).is_some_and(|flag| *flag.inner());
        Ok(Version::parse(&if normalizes { normalized(&text) } else { text }))
    }
    let own = || OwnVersion::cel_type().to_owned();
    for (kind, more) in [("string", vec![]), ("string_bool", vec![types::BOOL_TYPE])] {
        let arguments = || -> Vec<Type> { once(types::STRING_TYPE).chain(more.iter().map(Type::to_owned)).collect() };
        env.add_overload("semver", &format!("{kind}_to_semver"), arguments(), |args| {
            let found = parsed(&args)?.map_err(|error| ExecutionError::function_error("semver", error))?;
            Ok(CowVal::owned(OwnVersion(found)))
        })?;
        env.add_overload("isSemver", &format!("is_semver_{kind}"), arguments(), |args| {
            Ok(truth(parsed(&args)?.is_ok()))
        })?;
    }
    env.add_member_overload("major", "semver_major", own(), vec![], |args| Ok(part(OwnVersion::of(&args, 0)?.major)))?;
    env.add_member_overload("minor", "semver_minor", own(), vec![], |args| Ok(part(OwnVersion::of(&args, 0)?.minor)))?;
    env.add_member_overload("patch", "semver_patch", own(), vec![], |args| Ok(part(OwnVersion::of(&args, 0)?.patch)))
}

fn part<'b, 'v>(number: u64) -> CowVal<'b, 'v> {
    int(i64::try_from(number).unwrap_or(i64::MAX))
}

/// Without `v` before it, with all three numbers, none of which begins with a zero.
fn normalized(text: &str) -> String {
    let text = text.strip_prefix('v').unwrap_or(text);
    let end = text.find(['-', '+']).unwrap_or(text.len());
    let (numbers, rest) = text.split_at(end);
    let trimmed = |number: &str| match number.trim_start_matches('0') {
        "" if !number.is_empty() => "0".to_owned(),
        trimmed => trimmed.to_owned(),
    };
    let mut parts: Vec<String> = numbers.split('.').map(trimmed).collect();
    while parts.len() < 3 {
        parts.push("0".to_owned());
    }
    format!("{}{rest}", parts.join("."))
}
