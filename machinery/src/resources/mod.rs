//! `v1.ResourceList`: amounts by resource name, and the arithmetic that quotas, limits and totals of pods are made of.
//!
//! Enter at [`ResourceList::from_value`]; [`pod`] has what a whole pod asks for. Which names make sense is not known here.

pub mod pod;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::quantity::{Format, Quantity};

/// Amounts by resource name, in the order of the names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceList(BTreeMap<String, Quantity>);

impl ResourceList {
    /// Reads an object of quantities; what is no quantity is left out (validation refuses it).
    pub fn from_value(value: &Value) -> Self {
        let fields = value.as_object().into_iter().flatten();
        Self(fields.filter_map(|(name, value)| Some((name.clone(), Quantity::from_value(value).ok()?))).collect())
    }

    pub fn to_value(&self) -> Value {
        let fields = self.0.iter().map(|(name, quantity)| (name.clone(), quantity.to_string().into()));
        Value::Object(fields.collect::<Map<_, _>>())
    }

    pub fn get(&self, name: &str) -> Option<&Quantity> {
        self.0.get(name)
    }

    pub fn set(&mut self, name: impl Into<String>, quantity: Quantity) {
        self.0.insert(name.into(), quantity);
    }

    /// Sets a count.
    pub fn count(&mut self, name: impl Into<String>, count: i64) {
        self.set(name, Quantity::new(count, Format::DecimalSi));
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Quantity)> {
        self.0.iter().map(|(name, quantity)| (name.as_str(), quantity))
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds each amount of the other.
    pub fn add(&mut self, other: &Self) {
        for (name, quantity) in &other.0 {
            match self.0.get_mut(name) {
                Some(own) => own.add(quantity),
                None => drop(self.0.insert(name.clone(), quantity.clone())),
            }
        }
    }

    /// Takes each amount of the other where it is greater or not there yet.
    pub fn raise_to(&mut self, other: &Self) {
        for (name, quantity) in &other.0 {
            if self.0.get(name).is_none_or(|own| quantity > own) {
                self.0.insert(name.clone(), quantity.clone());
            }
        }
    }

    /// What is more here than in the other; nothing is negative.
    pub fn excess_over(&self, other: &Self) -> Self {
        let mut excess = self.clone();
        for (name, quantity) in &mut excess.0 {
            if let Some(other) = other.0.get(name) {
                quantity.sub(other);
            }
        }
        excess.0.retain(|_, quantity| quantity.sign() > 0);
        excess
    }

    /// Only the amounts of these names.
    pub fn only<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Self {
        let kept = names.into_iter().filter_map(|name| self.0.get_key_value(name));
        Self(kept.map(|(name, quantity)| (name.clone(), quantity.clone())).collect())
    }

    pub fn without_zeros(mut self) -> Self {
        self.0.retain(|_, quantity| !quantity.is_zero());
        self
    }

    /// Names whose amount here is greater than in the other; what the other does not name has no bound.
    pub fn names_above<'a>(&'a self, other: &Self) -> Vec<&'a str> {
        let above = self.0.iter().filter(|(name, quantity)| other.0.get(*name).is_some_and(|bound| *quantity > bound));
        above.map(|(name, _)| name.as_str()).collect()
    }
}

/// `cpu=1,memory=2Gi`, as upstream's messages have it.
impl std::fmt::Display for ResourceList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (position, (name, quantity)) in self.0.iter().enumerate() {
            let comma = if position == 0 { "" } else { "," };
            write!(f, "{comma}{name}={quantity}")?;
        }
        Ok(())
    }
}

impl FromIterator<(String, Quantity)> for ResourceList {
    fn from_iter<I: IntoIterator<Item = (String, Quantity)>>(items: I) -> Self {
        Self(items.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn list(value: Value) -> ResourceList {
        ResourceList::from_value(&value)
    }

    #[test]
    fn sums_differences_and_bounds() {
        let mut sum = list(json!({"cpu": "500m", "pods": "1"}));
        sum.add(&list(json!({"cpu": "1", "memory": "1Gi"})));
        assert_eq!(sum.to_string(), "cpu=1500m,memory=1Gi,pods=1");
        let excess = sum.excess_over(&list(json!({"cpu": "1", "memory": "2Gi"})));
        assert_eq!(excess.to_value(), json!({"cpu": "500m", "pods": "1"}));
        assert_eq!(sum.names_above(&list(json!({"cpu": "1", "memory": "1Gi"}))), ["cpu"]);
        sum.raise_to(&list(json!({"cpu": "1", "memory": "2Gi"})));
        assert_eq!(sum.only(["cpu", "memory"]).to_string(), "cpu=1500m,memory=2Gi");
    }
}
