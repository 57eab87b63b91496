//! The closed word lists of the API's schema, each made from the model's own list so that it cannot fall behind.

use holdfast_model::{
    Archetype, Band, CoverageState, Method, OnDeletion, Reach, RetiredReason, Severity, Status, Verdict,
};
use utoipa::openapi::{ObjectBuilder, Type, schema::Object};

macro_rules! word_schemas {
    ($($(#[$doc:meta])* $name:ident: $word:ident,)+) => {$(
        $(#[$doc])*
        pub fn $name() -> Object {
            one_of($word::ALL.iter().map(|value| value.as_str()).collect())
        }
    )+};
}

word_schemas! {
    /// How bad.
    severity: Severity,
    /// Where a finding stands.
    status: Status,
    /// How far a proof went.
    reach: Reach,
    /// The answer to a retest.
    verdict: Verdict,
    /// Why a finding was retired.
    retired_reason: RetiredReason,
    /// Whether something can be seen.
    coverage_state: CoverageState,
    /// The part of a cluster.
    archetype: Archetype,
    /// A way to prove a fix.
    method: Method,
    /// How far a pattern has spread.
    band: Band,
    /// What the subject's deletion means.
    on_deletion: OnDeletion,
}

fn one_of(words: Vec<&'static str>) -> Object {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words)).build()
}
