//! Named schemas of the model's closed lists and ids: what the OpenAPI document refers to instead of copying it inline.
//!
//! Each stands for the model's type of the same name and is made from the model's own list, so that it cannot fall behind. The
//! model itself knows no OpenAPI. A field names one with `#[schema(value_type = schema::Severity)]`.

use std::borrow::Cow;

use holdfast_model as model;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

macro_rules! closed_lists {
    ($($name:ident: $description:literal,)+) => {$(
        #[doc = $description]
        #[derive(Debug, Clone, Copy)]
        pub enum $name {}

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let values: Vec<_> = model::$name::ALL.iter().map(|value| value.as_str()).collect();
                text($description).enum_values(Some(values)).into()
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                stringify!($name).into()
            }
        }
    )+};
}

macro_rules! ids {
    ($($name:ident, $prefix:literal: $description:literal,)+) => {$(
        #[doc = $description]
        #[derive(Debug, Clone, Copy)]
        pub enum $name {}

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                text($description).pattern(Some(concat!("^", $prefix, "_[a-z2-7]{26}$"))).into()
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                stringify!($name).into()
            }
        }
    )+};
}

closed_lists! {
    Archetype: "The part of a cluster that a control is about.",
    Band: "How far a pattern has spread.",
    CoverageState: "Whether something can be observed.",
    Method: "A way to prove a fix.",
    OnDeletion: "What the subject's deletion means.",
    Reach: "How far a proof went.",
    RetiredReason: "Why a finding was retired.",
    Severity: "How bad a failing control is.",
    Status: "Where a finding stands.",
    Verdict: "The answer to a retest.",
}

ids! {
    ClusterId, "c": "One cluster.",
    FindingId, "f": "One finding, the same for ever.",
    PatternId, "p": "What repeats across clusters.",
    RetestId, "r": "One retest.",
}

fn text(description: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).description(Some(description))
}
