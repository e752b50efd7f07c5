//! Values of the string types that upstream marks as enumerations: `facts/enums.tsv`, one row a Go type. Only documents
//! tell of them; what a value may be is each kind's own rule.

pub(super) const TABLE: &str = include_str!("facts/enums.tsv");

/// The values of a field whose type Go names so (`v1.Protocol`, `[]v1.IPFamily`); `None` for types that are open.
pub fn enumeration(go: &str) -> Option<Vec<&'static str>> {
    let name = go.rsplit('.').next()?;
    let mut rows = TABLE.lines().map(|row| row.split('\t'));
    rows.find_map(|mut row| (row.next() == Some(name)).then(|| row.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;

    #[test]
    fn values_are_found_by_any_name_that_go_has_for_a_type() {
        assert_eq!(enumeration("v1.Protocol"), Some(vec!["SCTP", "TCP", "UDP"]));
        assert_eq!(enumeration("[]v1.IPFamily"), Some(vec!["", "IPv4", "IPv6"]));
        assert_eq!(enumeration("types.UID"), None);
    }

    #[test]
    fn every_enumeration_is_some_fields() {
        let messages =
            schema::group_versions().into_iter().flat_map(|(group, version)| schema::messages(group, version));
        let types: Vec<&str> = messages
            .flat_map(|schema| &schema.fields)
            .filter_map(|field| field.go.as_deref()?.rsplit('.').next())
            .collect();
        for row in TABLE.lines() {
            let name = row.split('\t').next().unwrap_or_default();
            assert!(types.contains(&name), "{name}");
        }
    }
}
