//! What a container is given, and whether its workload ever uses it.
//!
//! "Never" is claimed only of containers that were watched from their own start, without a gap, for as long as the window
//! asks. One container of the workload that uses a thing answers for all of them, and one that could not be
//! watched leaves the question open: it might be the one that does. Locations are kept as paths below the Pod's specification,
//! so that Pods of one template agree on them; a location that the template still has is the template's, and has a patch.

use std::collections::BTreeMap;

use holdfast_model::container_observation::ContainerObservation;
use holdfast_model::kernel::{Namespaces, RunningContainer};
use holdfast_model::{Location, SignalKind, UnixMillis};

use super::ObservedContainer;
use crate::facts::pod::short;
use crate::process::capability::{self, names};
use crate::process::{Allowance, Spec};

/// How the API server calls the volume that holds a token which nobody asked for.
const TOKEN_VOLUME: &str = "kube-api-access-";
const SYS_ADMIN: u64 = 1 << 21;

/// A field below the specification, and what it gives.
type Place = (String, String);

/// What containers of one workload make of an allowance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Used(BTreeMap<String, Answer>);

/// The answer of one container, or of all of one name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Answer {
    /// What is given and was not used; none where nothing is given or nobody can say.
    unused: Option<BTreeMap<String, Location>>,
    unread: Vec<String>,
}

impl Used {
    /// What this container uses.
    pub fn of(allowance: Allowance, seen: &ObservedContainer<'_>) -> Self {
        let mut used = Self::default();
        if !seen.container.id.is_empty() {
            used.take(allowance, seen, seen.spec());
        }
        used
    }

    pub(super) fn take(&mut self, allowance: Allowance, seen: &ObservedContainer<'_>, spec: Option<Spec<'_>>) {
        let answer = match spec {
            Some(spec) => allowance.answer(seen, spec),
            None => Err("nobody knows what it was given".to_owned()),
        };
        let answer = match answer {
            Ok(unused) => Answer { unused, unread: Vec::new() },
            Err(why) => {
                let unread = vec![format!("{}, container {}: {why}", seen.place(), seen.called())];
                Answer { unused: None, unread }
            }
        };
        let name = if allowance == Allowance::Token { String::new() } else { seen.called() };
        self.add(name, answer);
    }

    /// Takes in what other containers of the same workload use.
    pub fn fold(&mut self, others: &Self) {
        others.0.iter().for_each(|(name, answer)| self.add(name.clone(), answer.clone()));
    }

    /// What none of them uses.
    fn add(&mut self, name: String, other: Answer) {
        let known = self.0.entry(name).or_default();
        known.unread.extend(other.unread);
        known.unused = match (known.unused.take(), other.unused) {
            (Some(one), Some(other)) => Some(one.into_iter().filter(|(what, _)| other.contains_key(what)).collect()),
            (one, other) => one.or(other),
        };
    }

    /// What was never used, and what nobody can say.
    pub fn settle(self) -> (Vec<Location>, Vec<String>) {
        let (mut unused, mut unread) = (Vec::new(), Vec::new());
        for answer in self.0.into_values() {
            match answer.unused {
                // All of it is used by one of them.
                Some(none) if none.is_empty() => {}
                Some(places) if answer.unread.is_empty() => unused.extend(places.into_values()),
                _ => unread.extend(answer.unread),
            }
        }
        (unused, unread)
    }
}

impl Allowance {
    /// What tells its use.
    fn kinds(self) -> &'static [SignalKind] {
        match self {
            Self::Capabilities => &[SignalKind::CapabilityUsed],
            Self::WritableRoot => &[SignalKind::RootWrite],
            Self::Token => &[SignalKind::SensitiveOpen],
        }
    }

    /// What this container is given and has not used; none where it is given nothing. The error says why nobody knows.
    fn answer(
        self,
        seen: &ObservedContainer<'_>,
        spec: Spec<'_>,
    ) -> Result<Option<BTreeMap<String, Location>>, String> {
        if let Some(why) = &seen.container.incomplete {
            return Err(short(why));
        }
        let Some(given) = self.given(seen, &spec)? else { return Ok(None) };
        let watched = seen.container.observation.as_ref().ok_or("no sensor watches it")?;
        let places = self.places(given, watched, &spec);
        if places.is_empty() {
            return Ok(Some(BTreeMap::new()));
        }
        if let Some(gap) = watched.gap(self.kinds()) {
            return Err(format!("what it used may have been missed: {gap}"));
        }
        if !watched.from_start {
            return Err("it has not been watched from its start".to_owned());
        }
        let (seen_for, window) = (watched.millis(), seen.windows.unused_after);
        if seen_for < window {
            return Err(format!("it has been watched for {} of {}", time(seen_for), time(window)));
        }
        let of_template = template_spec(seen, &spec).map(|template| self.places(given, watched, &template));
        let placed = |(what, place): (String, Place)| {
            let container = (self != Self::Token).then(|| seen.called());
            let location = match (of_template.as_ref().and_then(|places| places.get(&what)), seen.template) {
                (Some((path, value)), Some(template)) => {
                    Location { path: template.rooted(path), value: value.clone(), container, object: None }
                }
                _ => Location {
                    path: format!("spec.{}", place.0),
                    value: place.1,
                    container,
                    object: Some(seen.place()),
                },
            };
            (what, location)
        };
        Ok(Some(places.into_iter().map(placed).collect()))
    }

    /// The capabilities that the kernel shows; any number for what is given or not. None: nothing is given. What another control
    /// says of the container leaves the question open: whoever makes it privileged has not mended this.
    fn given(self, seen: &ObservedContainer<'_>, spec: &Spec<'_>) -> Result<Option<u64>, String> {
        let all_privileges = &seen.container.process_groups;
        let writable = || !all_privileges.iter().all(|group| group.privileges.root_read_only == Some(true));
        match self {
            Self::Capabilities | Self::WritableRoot if spec.is_privileged() => Err("it is privileged".to_owned()),
            Self::Capabilities => match granted(seen.container, seen.host) {
                0 => Ok(None),
                all if spec.drops_all() && all & !spec.adds() != 0 => {
                    Err(format!("it has {}, which its specification drops", names(all & !spec.adds())))
                }
                some => Ok(Some(some)),
            },
            Self::WritableRoot if spec.is_ephemeral() || !writable() => Ok(None),
            Self::WritableRoot if is_read_only(spec) => Err("its root should be read-only, and is not".to_owned()),
            Self::WritableRoot => Ok(Some(0)),
            Self::Token => Ok(spec.pod.volumes.iter().any(|volume| volume.name.starts_with(TOKEN_VOLUME)).then_some(0)),
        }
    }

    /// What was not used, each with the field that gives it.
    fn places(self, given: u64, watched: &ContainerObservation, spec: &Spec<'_>) -> BTreeMap<String, Place> {
        match self {
            Self::Capabilities => capability_places(given, watched.capabilities, spec),
            Self::WritableRoot if watched.root_written || is_read_only(spec) => BTreeMap::new(),
            Self::WritableRoot => {
                let path = spec.container.missing("securityContext.readOnlyRootFilesystem").path;
                one(path, "it can be written, and never was")
            }
            Self::Token if watched.token_read || spec.pod.automount_service_account_token == Some(false) => {
                BTreeMap::new()
            }
            Self::Token => one("automountServiceAccountToken".to_owned(), "its token is mounted, and was never read"),
        }
    }
}

fn one(path: String, value: &str) -> BTreeMap<String, Place> {
    BTreeMap::from([(String::new(), (path, value.to_owned()))])
}

fn is_read_only(spec: &Spec<'_>) -> bool {
    spec.container.security_context().is_some_and(|context| context.read_only_root_filesystem == Some(true))
}

/// Of those that the specification names each is a place; those that it leaves to the runtime are one, where not a single
/// capability was used: else what to drop is `workload.capabilities-not-dropped`'s question.
fn capability_places(granted: u64, used: u64, spec: &Spec<'_>) -> BTreeMap<String, Place> {
    let context = spec.container.security_context();
    let named = context.and_then(|context| context.capabilities.as_ref());
    let mut places = BTreeMap::new();
    for (at, name) in named.into_iter().flat_map(|capabilities| &capabilities.add).enumerate() {
        let one = capability::set([&**name]) & granted;
        if one != 0 && one & used == 0 {
            let path = spec.container.at(&format!("securityContext.capabilities.add[{at}]"), "").path;
            let name = short(&names(one));
            places.insert(name.clone(), (path, format!("{name} was never used")));
        }
    }
    if used & granted == 0 && !spec.drops_all() {
        let field = if named.is_some() { "securityContext.capabilities.drop" } else { "securityContext.capabilities" };
        let value = format!("{}: none was ever used", names(granted));
        places.insert(String::new(), (spec.container.missing(field).path, value));
    }
    places
}

/// What its processes may use of the host's, where the kernel tells whether they do. It asks for CAP_SYS_ADMIN at every
/// mapping of memory, so its use is not reported.
fn granted(container: &RunningContainer, host: &Namespaces) -> u64 {
    let all_privileges = container.process_groups.iter().map(|group| &group.privileges);
    let reach = all_privileges
        .filter(|privileges| privileges.namespaces.user == host.user)
        .fold(0, |all, privileges| all | privileges.effective | privileges.permitted | privileges.bounding);
    reach & capability::ALL & !SYS_ADMIN
}

/// The container of the same name, at the same place, as the workload asks for it now.
fn template_spec<'a>(seen: &ObservedContainer<'a>, spec: &Spec<'_>) -> Option<Spec<'a>> {
    let pod = &seen.template?.pod;
    let container = pod.all_containers().find(|placed| {
        placed.list == spec.container.list
            && placed.index == spec.container.index
            && placed.container.name == spec.container.container.name
    })?;
    Some(Spec { pod, container })
}

/// `45 s`, `12 min`, `3 h`: enough for people.
pub(super) fn time(millis: UnixMillis) -> String {
    match millis / 1000 {
        seconds if seconds < 120 => format!("{seconds} s"),
        seconds if seconds < 2 * 60 * 60 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / (60 * 60)),
    }
}
