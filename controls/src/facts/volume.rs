//! A pod's volume: its name and what kind of source it has. Of the source's own fields only a host path is read.

use std::fmt;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::null_as_default;

/// `Volume`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Volume {
    /// `name`.
    pub name: Box<str>,
    /// The source; one that the restricted standard allows comes before any other, as in the standard's own check.
    pub source: Source,
    /// Whether a driver or an administrator provides it: a claim, an ephemeral claim, an inline CSI volume.
    pub provided: bool,
    /// `hostPath.path`, whatever else is set.
    pub host_path: Option<Box<str>>,
}

/// What kind of source a volume has.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub enum Source {
    /// One that the restricted standard allows, or none at all, which the API server reads as `emptyDir`.
    #[default]
    Allowed,
    /// Any other, by its field name.
    Restricted(Box<str>),
}

/// The sources that the restricted standard allows.
const ALLOWED: &[&str] = &[
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// Those of them behind which a driver or an administrator puts what they want.
const PROVIDED: &[&str] = &["csi", "ephemeral", "persistentVolumeClaim"];

#[derive(Default, Deserialize)]
#[serde(default)]
struct HostPath {
    #[serde(deserialize_with = "null_as_default")]
    path: Box<str>,
}

impl<'de> Deserialize<'de> for Volume {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Volume;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a volume")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Volume, A::Error> {
                let mut volume = Volume::default();
                let mut allowed = false;
                while let Some(field) = map.next_key::<Box<str>>()? {
                    match &*field {
                        "name" => volume.name = map.next_value::<Option<_>>()?.unwrap_or_default(),
                        "hostPath" => volume.host_path = map.next_value::<Option<HostPath>>()?.map(|host| host.path),
                        _ if map.next_value::<Option<IgnoredAny>>()?.is_none() => {}
                        known if ALLOWED.contains(&known) => {
                            allowed = true;
                            volume.provided |= PROVIDED.contains(&known);
                        }
                        _ => volume.source = Source::Restricted(field),
                    }
                }
                if allowed {
                    volume.source = Source::Allowed;
                } else if volume.host_path.is_some() {
                    volume.source = Source::Restricted("hostPath".into());
                }
                Ok(volume)
            }
        }

        from.deserialize_map(Fields)
    }
}
