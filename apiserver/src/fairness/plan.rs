//! The levels and schemas that hold now, made of the stored objects. Pure but for the levels, which live on.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::flowcontrol::v1::{FlowSchemaSpec, PriorityLevelConfigurationSpec};
use machinery::meta;
use serde_json::{Value, json};

use super::hand::flow_hash;
use super::level::Level;
use super::queues::Discipline;
use super::rules;
use super::series::{self, FlowSeries};
use super::shares::{self, Bounds, Party, Shares};
use crate::kinds::flow_standard::{mandatory_levels, mandatory_schemas};
use crate::request::{RequestInfo, User};

const CATCH_ALL: &str = "catch-all";

/// A FlowSchema whose level exists.
pub struct Schema {
    name: String,
    spec: FlowSchemaSpec,
    pub planned: Arc<Planned>,
    pub series: Arc<FlowSeries>,
    pub marks: Arc<Marks>,
}

impl Schema {
    pub fn flow(&self, distinguisher: &str) -> u64 {
        match self.planned.discipline {
            Discipline::Queue { queues: 2.., .. } => flow_hash(&self.name, distinguisher),
            _ => 0,
        }
    }

    /// What tells its flows apart.
    pub fn distinguisher<'a>(&self, info: &'a RequestInfo, user: &'a User) -> &'a str {
        rules::distinguisher(&self.spec, info, user)
    }
}

/// What an answer tells of how its request was sorted: uids, for the names are nobody's business.
#[derive(Debug, Default)]
pub struct Marks {
    pub schema_uid: String,
    pub level_uid: String,
}

/// A level with what its object says.
pub struct Planned {
    pub level: Arc<Level>,
    pub discipline: Discipline,
    pub bounds: Bounds,
    /// The most seats that one request is given.
    pub request_seats_max: usize,
    /// Its object is gone. It stays, and keeps its share, as long as requests wait or run there.
    pub is_quiescing: bool,
    shares: Shares,
    uid: String,
}

/// What a level is to be.
struct Wish {
    name: String,
    uid: String,
    discipline: Discipline,
    shares: Shares,
    is_quiescing: bool,
}

/// All of it, replaced as a whole.
pub struct Plan {
    /// The first that fits is taken.
    schemas: Vec<Arc<Schema>>,
    levels: BTreeMap<String, Arc<Planned>>,
}

impl Plan {
    /// Levels keep those who run and wait from plan to plan; the mandatory objects are there even when they are not.
    pub fn new(total: usize, levels: &[Value], schemas: &[Value], before: Option<&Plan>) -> Self {
        let levels = with_mandatory(levels, mandatory_levels());
        let mut wishes: Vec<Wish> = levels.iter().filter_map(parsed).map(wish).collect();
        wishes.extend(before.map(|plan| plan.quiescing(&wishes)).unwrap_or_default());
        let shares: Vec<Shares> = wishes.iter().map(|wish| wish.shares).collect();
        let bounds = shares::bounds(total, &shares);
        let levels = wishes.into_iter().zip(bounds).map(|(wish, bounds)| {
            let old = before.and_then(|plan| plan.levels.get(&wish.name));
            (wish.name.clone(), Arc::new(planned(wish, bounds, old.map(|old| &old.level))))
        });
        let levels: BTreeMap<_, _> = levels.collect();
        let schemas = with_mandatory(schemas, mandatory_schemas());
        let mut schemas: Vec<Arc<Schema>> = schemas.iter().filter_map(|schema| compile(schema, &levels)).collect();
        schemas.sort_by(|a, b| {
            let key = |schema: &Schema| (schema.spec.matching_precedence, schema.name.clone());
            key(a).cmp(&key(b))
        });
        Self { schemas, levels }
    }

    /// The schema of a request. Those that fit no other are the last one's, which is everybody's.
    pub fn classify(&self, info: &RequestInfo, user: &User) -> Option<&Arc<Schema>> {
        let mut schemas = self.schemas.iter();
        let fits = schemas.find(|schema| rules::matches(&schema.spec, info, user));
        fits.or_else(|| self.schemas.iter().find(|schema| schema.name == CATCH_ALL))
    }

    /// By name.
    pub fn levels(&self) -> impl Iterator<Item = &Planned> {
        self.levels.values().map(AsRef::as_ref)
    }

    /// Levels that nobody wishes for any more, and that are not done.
    fn quiescing(&self, wishes: &[Wish]) -> Vec<Wish> {
        let is_unwanted = |name: &String| wishes.iter().all(|wish| wish.name != *name);
        let left = self.levels.iter().filter(|(name, planned)| is_unwanted(name) && !planned.level.is_idle());
        let wish = |(name, planned): (&String, &Arc<Planned>)| Wish {
            name: name.clone(),
            uid: planned.uid.clone(),
            discipline: planned.discipline,
            shares: planned.shares,
            is_quiescing: true,
        };
        left.map(wish).collect()
    }

    /// Whether a level is still here whose object is gone and whose last request has ended.
    pub fn has_drained(&self) -> bool {
        self.levels().any(|planned| planned.is_quiescing && planned.level.is_idle())
    }

    /// Ends a period: seats go where they were wanted.
    pub fn adjust(&self) {
        let planned: Vec<&Arc<Planned>> = self.levels.values().collect();
        let periods: Vec<_> = planned.iter().map(|planned| planned.level.take_demand()).collect();
        let parties: Vec<Party> = planned
            .iter()
            .zip(&periods)
            .map(|(planned, period)| Party {
                bounds: planned.bounds,
                is_exempt: planned.discipline == Discipline::Exempt,
                peak: period.peak,
                smoothed: period.smoothed,
            })
            .collect();
        let (seats, fraction) = shares::borrow(&parties);
        series::fair_fraction(fraction);
        for ((planned, period), seats) in planned.into_iter().zip(&periods).zip(seats) {
            series::adjusted(&planned.level.name, period, seats);
            planned.level.reshape(planned.discipline, seats);
        }
    }
}

fn with_mandatory(objects: &[Value], mandatory: Vec<(&'static str, Value)>) -> Vec<Value> {
    let missing = mandatory.into_iter().filter(|(name, _)| !objects.iter().any(|own| meta::name(own) == *name));
    let missing = missing.map(|(name, spec)| json!({"metadata": {"name": name}, "spec": spec}));
    objects.iter().cloned().chain(missing).collect()
}

/// Name, uid and spec. What cannot be read was never valid.
fn parsed<S: serde::de::DeserializeOwned>(object: &Value) -> Option<(String, String, S)> {
    let spec = serde_json::from_value(object["spec"].clone());
    let spec = spec.inspect_err(|error| {
        tracing::error!(name = meta::name(object), %error, "a flow control object cannot be read; it is left out");
    });
    Some((meta::name(object).to_owned(), meta::uid(object).to_owned(), spec.ok()?))
}

fn shares_of(spec: &PriorityLevelConfigurationSpec) -> Shares {
    match (&spec.limited, &spec.exempt) {
        (Some(limited), _) => Shares {
            nominal: limited.nominal_concurrency_shares.unwrap_or(30),
            lendable_percent: limited.lendable_percent.unwrap_or(0),
            borrowing_limit_percent: limited.borrowing_limit_percent,
        },
        (None, Some(exempt)) => Shares {
            nominal: exempt.nominal_concurrency_shares.unwrap_or(0),
            lendable_percent: exempt.lendable_percent.unwrap_or(0),
            borrowing_limit_percent: None,
        },
        (None, None) => Shares::default(),
    }
}

fn discipline_of(spec: &PriorityLevelConfigurationSpec) -> Discipline {
    let Some(limited) = &spec.limited else { return Discipline::Exempt };
    let response = limited.limit_response.as_ref();
    let Some(queuing) = response.and_then(|response| response.queuing.as_ref()) else { return Discipline::Reject };
    let count = |number: Option<i32>, default: usize| {
        number.and_then(|number| usize::try_from(number).ok()).filter(|number| *number > 0).unwrap_or(default)
    };
    let queues = count(queuing.queues, 64);
    Discipline::Queue {
        queues,
        hand: count(queuing.hand_size, 8).min(queues),
        length_max: count(queuing.queue_length_limit, 50),
    }
}

/// The most of a level that one request may hold, in parts of its seats.
const REQUEST_PART_MAX: f64 = 0.15;

fn wish((name, uid, spec): (String, String, PriorityLevelConfigurationSpec)) -> Wish {
    Wish { name, uid, discipline: discipline_of(&spec), shares: shares_of(&spec), is_quiescing: false }
}

fn planned(wish: Wish, bounds: Bounds, old: Option<&Arc<Level>>) -> Planned {
    let Wish { name, uid, discipline, shares, is_quiescing } = wish;
    series::configured(&name, &bounds);
    let level = match old {
        Some(level) => level.clone(),
        None => Arc::new(Level::new(&name, discipline, bounds.initial())),
    };
    let request_seats_max = match discipline {
        Discipline::Queue { hand, .. } => {
            let part = (bounds.nominal as f64 * REQUEST_PART_MAX).ceil() as usize;
            part.min(bounds.nominal / hand).max(1)
        }
        _ => usize::MAX,
    };
    Planned { level, discipline, bounds, request_seats_max, is_quiescing, shares, uid }
}

fn compile(schema: &Value, levels: &BTreeMap<String, Arc<Planned>>) -> Option<Arc<Schema>> {
    let (name, uid, spec): (_, _, FlowSchemaSpec) = parsed(schema)?;
    let planned = levels.get(&spec.priority_level_configuration.name).filter(|planned| !planned.is_quiescing)?.clone();
    let series = Arc::new(FlowSeries::of(&planned.level.name, &name));
    let marks = Arc::new(Marks { schema_uid: uid, level_uid: planned.uid.clone() });
    Some(Arc::new(Schema { name, spec, planned, series, marks }))
}

#[cfg(test)]
mod tests {
    use super::super::level::Demanded;
    use super::*;
    use crate::kinds::flow_standard::{suggested_levels, suggested_schemas};

    fn objects(named: Vec<(&'static str, Value)>) -> Vec<Value> {
        let uid = |name: &str| format!("uid-{name}");
        named
            .into_iter()
            .map(|(name, spec)| json!({"metadata": {"name": name, "uid": uid(name)}, "spec": spec}))
            .collect()
    }

    fn user(name: &str) -> User {
        User { name: name.to_owned(), ..User::default() }.authenticated()
    }

    #[test]
    fn a_schema_without_its_level_is_passed_over() {
        let info = RequestInfo { is_resource: true, verb: "get".into(), ..RequestInfo::default() };
        let whole = Plan::new(600, &objects(suggested_levels()), &objects(suggested_schemas()), None);
        let found = whole.classify(&info, &user("u")).unwrap();
        assert_eq!(
            (found.marks.schema_uid.as_str(), found.marks.level_uid.as_str()),
            ("uid-global-default", "uid-global-default")
        );
        let bare = Plan::new(600, &[], &objects(suggested_schemas()), None);
        assert_eq!(bare.classify(&info, &user("u")).unwrap().name, "catch-all");
        assert_eq!(bare.levels["catch-all"].bounds.nominal, 600);
        // Even who is in no group at all is somebody's.
        assert_eq!(bare.classify(&info, &User::default()).unwrap().name, "catch-all");
    }

    #[test]
    fn levels_live_on_and_requests_have_a_width() {
        let first = Plan::new(600, &objects(suggested_levels()), &[], None);
        let second = Plan::new(600, &objects(suggested_levels()), &[], Some(&first));
        assert!(Arc::ptr_eq(&first.levels["system"].level, &second.levels["system"].level));
        let widths = |name: &str| second.levels[name].request_seats_max;
        assert_eq!((widths("workload-low"), widths("global-default"), widths("leader-election")), (37, 8, 4));
        second.adjust();
    }

    #[tokio::test(start_paused = true)]
    async fn a_level_whose_object_is_gone_ends_with_its_requests() {
        let (all, schemas) = (objects(suggested_levels()), objects(suggested_schemas()));
        let fewer: Vec<Value> = all.iter().filter(|level| meta::name(level) != "system").cloned().collect();
        let before = Plan::new(600, &all, &schemas, None);
        let level = &before.levels["system"].level;
        let seat = level.take_seat(Demanded::of_nobody("system")).await.ok().unwrap();
        let during = Plan::new(600, &fewer, &schemas, Some(&before));
        let left = &during.levels["system"];
        assert!(left.is_quiescing && Arc::ptr_eq(&left.level, level) && left.bounds == before.levels["system"].bounds);
        assert!(during.schemas.iter().all(|schema| schema.planned.level.name != "system") && !during.has_drained());
        let again = Plan::new(600, &all, &schemas, Some(&during));
        assert!(!again.levels["system"].is_quiescing && Arc::ptr_eq(&again.levels["system"].level, level));
        drop(seat);
        assert!(during.has_drained());
        assert!(!Plan::new(600, &fewer, &schemas, Some(&during)).levels.contains_key("system"));
    }

    #[test]
    fn flows_are_of_users_or_namespaces() {
        let plan = Plan::new(600, &objects(suggested_levels()), &objects(suggested_schemas()), None);
        let info = |namespace: &str| RequestInfo {
            is_resource: true,
            verb: "get".into(),
            namespace: namespace.to_owned(),
            ..RequestInfo::default()
        };
        let flow = |name: &str, namespace: &str| {
            let (info, user) = (info(namespace), user(name));
            let schema = plan.classify(&info, &user).unwrap();
            schema.flow(schema.distinguisher(&info, &user))
        };
        assert_eq!(flow("u", "a"), flow("u", "b"));
        assert_ne!(flow("u", "a"), flow("v", "a"));
        assert_ne!(flow("system:kube-scheduler", "a"), flow("system:kube-scheduler", "b"));
    }
}
