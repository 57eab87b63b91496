//! Flags images whose tag is `latest` or absent, which is the same. Beyond the Pod Security Standards. A digest fixes
//! the content whatever the tag says; any other tag may move too, but says which release is meant.
//! Credentials in a reference are dropped where it is read.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use crate::catalog::{Control, Judge};
use crate::facts::pod::PodSpec;

pub(crate) const CONTROL: Control = Control {
    id: "workload.image-latest",
    version: 1,
    title: "Images name a release",
    severity: Severity::Low,
    description: "With the tag `latest`, or none, each start may run another program: what was tested, scanned and \
                  approved is not what runs, two replicas may differ, and there is nothing to go back to.",
    remediation: "Name the release in the tag, or better the content by its digest: \
                  `registry.example/app:1.4@sha256:…`.",
    on_deletion: OnDeletion::Retires,
    methods: &[Method::LiveRead],
    reads: &[],
    judge: Judge::Pod(judge),
    running: None,
    fix: None,
};

fn judge(pod: &PodSpec, fails: &mut Vec<Location>) {
    for placed in pod.lasting_containers() {
        let image = &placed.container.image;
        if !image.as_str().is_empty() && !image.has_digest() && image.tag().is_none_or(|tag| tag == "latest") {
            fails.push(placed.at("image", image.as_str()));
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::catalog::check::{fires, silent};

    #[test]
    fn latest_and_no_tag_are_the_same() {
        fires(
            &CONTROL,
            "containers: [{name: a, image: nginx}, {name: b, image: 'user:hunter2@localhost:5000/app:latest'}]",
            expect![[r#"
                containers[0].image = nginx in a
                containers[1].image = localhost:5000/app:latest in b"#]],
        );
    }

    #[test]
    fn a_release_or_a_digest_is_enough() {
        silent(
            &CONTROL,
            "
    containers:
    - {name: a, image: 'nginx:1.27'}
    - {name: b, image: 'nginx@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'}
    - {name: c, image: 'nginx:latest@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'}
    - {name: d}",
        );
    }
}
