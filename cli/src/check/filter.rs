//! Which controls a check evaluates: those that were named, of the severity that was asked for.

use anyhow::Context;
use holdfast_controls::Control;
use holdfast_model::Severity;

/// Which controls are asked.
#[derive(Debug)]
pub struct Filter {
    controls: Vec<&'static Control>,
    severity: Severity,
}

impl Filter {
    /// A filter by ids, or for all controls where there are none, and by severity.
    pub fn new(ids: &[String], severity: Severity) -> anyhow::Result<Self> {
        let find = |id: &String| {
            let known = "`holdfast check --help` and the documentation list them";
            Control::find(id).with_context(|| format!("there is no control {id:?}: {known}"))
        };
        let controls = ids.iter().map(find).collect::<anyhow::Result<_>>()?;
        Ok(Self { controls, severity })
    }

    /// Whether a control is evaluated.
    pub fn wants(&self, control: &'static Control) -> bool {
        let named = self.controls.is_empty() || self.controls.iter().any(|wanted| wanted.id == control.id);
        named && control.severity >= self.severity
    }
}
