//! The tree against what others computed, and against itself over every small size.

use data_encoding::HEXLOWER;
use proptest::prelude::*;

use super::proof::{consistency, inclusion, tiles_for, verify_consistency, verify_inclusion};
use super::*;

/// The eight leaves that certificate transparency's own tests use, and the roots of their first 1 to 8.
const RFC_LEAVES: [&[u8]; 8] = [b"", b"\x00", b"\x10", b" !", b"01", b"@ABC", b"PQRSTUVW", b"`abcdefghijklmno"];
const RFC_ROOTS: [&str; 8] = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

/// Roots of the log of `event 0`, `event 1`, ... at these sizes, and two proofs in it, as Go's golang.org/x/mod/sumdb/tlog
/// computes them.
const GO_ROOTS: [(u64, &str); 7] = [
    (255, "222da0f6c081dc3968fb864966d8d8ea1905ccdb4dbee33459a6dc48eb21d275"),
    (256, "d56a4e1ca488792c837ccd7fa985ebaa67c35c17b6e70b80cd31becfad851b17"),
    (257, "eacc42cbd69a46934c40b01109c2b3ea32880da8a053cce4e0c962d09f69b6d0"),
    (1000, "cf3badb8f55ed344d8adee15d32a5b55192dabe2a2c3d0a17e1e4b1ae68e0291"),
    (65536, "fb41dcc245d88ab19503fa5dda48f4840554d41a94016b3460870e5a152cff28"),
    (65537, "8a57bfca7966270b8f8c73bf6ba12e913cb1aaf8db6e791ba307e8682dcfea99"),
    (70000, "07aacf4b136b01993481b12907d4afa72d97bc7cc79b1c7c491dff4e066e1530"),
];
const GO_INCLUSION_OF_12345_IN_70000: [&str; 17] = [
    "bf78ecb8b4e81a00e95001b875f0676c343dd59282696a90d573d42dafe60146",
    "2b4aa0fc1b836d35c6a1a549b084cea0b148b24e851ca2ff0e4a992a63efa09c",
    "22559b022c0ab13c1c1942f6fbbbdb0e84e48e333ae808ec861a66967dc60eee",
    "01246ef8dd8c4cb7baf10068d6258e16d7ffd0d4296c9e2322b9d31a3b2002f4",
    "3602e8752ab96e41c31cb2b7b2efdbd590c084169017461520dce4dadf66f574",
    "c2c2c3cac3896334f7f9d3f8be170e22cd70f5c716b408b95c0a796b43b7b566",
    "c0c8f9812509f8ea449cf4d4ba3a7335b87398c83afc1181e421a2de2f11dee1",
    "43056f5790fcdb94000d6a8b22c0e6003774c70b9f9abaf2b1046cc2bb06efb2",
    "9cc4c25adfc7c94a3158c7572be5808731e92d8fbc315d4d2b90ff4ee9a1c606",
    "5630284a57b079e3b61d72c70c8060ff5af4697e17c102fb3b63a3ee6d3fd610",
    "82f5a3b2edd99986ef224138981c847784a0ed0dc1ebb1f9b8c680409f53f6b3",
    "a2e7857437f6f694f1d36e38df325ef28a59798ff65516bed1ac0f6beb7270ed",
    "e4df7d5ef4ff443145c6976907363a3992cd9f7d14b887a829b6fa329ee25133",
    "25a43ffa8e8a0edec2dd01620c6eb88e36068e4a4c994a7141a4d1a009d4dea8",
    "602e15b09995f166882e6deb33e314f43cb1d8a0dcf313a2ea5402f459036a4d",
    "3c5776cd67735eeef6f04b32dae3b27d58d89fe62320c696433ff0d82878d000",
    "ed88b9d507106063a5fba357654940661e761c68134650ddb0c69e60322a99d7",
];
const GO_CONSISTENCY_OF_1000_WITH_70000: [&str; 15] = [
    "dc2d0317ae42723f1c0baa84f945a9be9543067a82ac1cdf0c01618403e21904",
    "e3e82094bbb0f73b8c76ab259c26add2dcb65e2ce6712d7e532d4b1ff95bafc9",
    "2195c413798c43d17dea3c79449470ddbf7700e4f6cbde6753512b1aad6264e5",
    "095400b8d072251599d13dfa30403f9daa394e402cd70299ea37d54142405053",
    "3d2b36fd343c76d19cfdd9cf1f07cd97f0ec492f6d64f4cc06a25c9c27461185",
    "9f00096e5aa5c34e626fc6de6ab1b60587ea54495943dbefab6db3e9c8bda9e3",
    "70762a509cf448051f9c037ef7eebe76ada54b5dc3203ac2df6a3b66889c27a4",
    "0963b1841fb01fca121831f470a96d6c798c8d75696d20f479f29d2ac8d67cbe",
    "fd1014e0531b1d76541832d96b87e430fa39ac57212a5e0d7193e1c5a1e262b4",
    "364017f9ee64fdcba2cc1611f7370fc282ff65493f8da3f6a599ace6b7890693",
    "349573a8e2d7eae12d50cf80c52998799c566f941e536ec63645282a919b70cf",
    "2fa6e39d2d94146e32192c0a2ef66e1a4adc7cbc57a428b834e309f2765db806",
    "602e15b09995f166882e6deb33e314f43cb1d8a0dcf313a2ea5402f459036a4d",
    "3c5776cd67735eeef6f04b32dae3b27d58d89fe62320c696433ff0d82878d000",
    "ed88b9d507106063a5fba357654940661e761c68134650ddb0c69e60322a99d7",
];

fn hex(hash: &Hash) -> String {
    HEXLOWER.encode(hash)
}

/// A log of `event 0` to `event size - 1`, and all of its tiles.
fn grown(size: u64) -> (Log, Tiles) {
    let mut log = Log::default();
    for i in 0..size {
        log.append(leaf_hash(format!("event {i}").as_bytes()));
    }
    let tiles = log.take_changed();
    (log, tiles)
}

#[test]
fn the_roots_are_those_of_certificate_transparency() {
    let mut log = Log::default();
    assert_eq!(hex(&log.root()), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    for (leaf, root) in RFC_LEAVES.iter().zip(RFC_ROOTS) {
        log.append(leaf_hash(leaf));
        assert_eq!(hex(&log.root()), root);
    }
}

#[test]
fn roots_and_proofs_of_a_long_log_are_those_of_the_go_checksum_database() {
    let mut log = Log::default();
    for i in 0..70_000u64 {
        log.append(leaf_hash(format!("event {i}").as_bytes()));
        if let Some((_, root)) = GO_ROOTS.iter().find(|(size, _)| *size == i + 1) {
            assert_eq!(hex(&log.root()), *root, "{i}");
        }
    }
    let tiles = log.take_changed();
    let path: Vec<_> = inclusion(&tiles, 12_345, 70_000).unwrap().iter().map(hex).collect();
    assert_eq!(path, GO_INCLUSION_OF_12345_IN_70000);
    let path: Vec<_> = consistency(&tiles, 1_000, 70_000).unwrap().iter().map(hex).collect();
    assert_eq!(path, GO_CONSISTENCY_OF_1000_WITH_70000);
    assert!(tiles_for(|nodes| inclusion(nodes, 12_345, 70_000)).len() <= 6);
}

#[test]
fn every_proof_of_every_small_log_is_accepted_and_no_neighbour_is() {
    let (_, tiles) = grown(70);
    let roots: Vec<_> = (0..=70).map(|size| root(&tiles, size).unwrap()).collect();
    let root_of = |size: u64| roots[usize::try_from(size).unwrap()];
    for size in 1..=70 {
        for index in 0..size {
            let path = inclusion(&tiles, index, size).unwrap();
            let leaf = tiles.node(0, index).unwrap();
            assert!(verify_inclusion(&leaf, index, size, &path, &root_of(size)), "{index} of {size}");
            assert!(!verify_inclusion(&leaf, (index + 1) % size, size, &path, &root_of(size)) || size == 1);
            assert!(!verify_inclusion(&leaf, index, size, &path, &root_of(size + 1 - 2 * (size / 70))));
        }
        for first in 1..=size {
            let path = consistency(&tiles, first, size).unwrap();
            assert!(verify_consistency(first, size, &path, &root_of(first), &root_of(size)), "{first} to {size}");
            let other = root_of(first % 70 + 1);
            assert!(!verify_consistency(first, size, &path, &other, &root_of(size)), "{first} to {size}");
        }
    }
}

#[test]
fn what_is_not_there_has_no_proof() {
    let (_, tiles) = grown(10);
    assert_eq!(inclusion(&tiles, 10, 10), None);
    assert_eq!(inclusion(&tiles, 0, 11), None);
    assert_eq!(consistency(&tiles, 0, 10), None);
    assert_eq!(consistency(&tiles, 11, 10), None);
    assert!(!verify_inclusion(&[0; 32], 0, 0, &[], &empty_root()));
    assert!(verify_consistency(0, 5, &[], &empty_root(), &[1; 32]));
    assert!(!verify_consistency(5, 4, &[], &[1; 32], &[1; 32]));
    assert!(!verify_consistency(3, 5, &[], &[1; 32], &[1; 32]));
}

#[test]
fn a_log_is_taken_up_only_from_the_tiles_of_its_size() {
    let (_, tiles) = grown(300);
    assert!(Log::resume(300, tiles.clone()).is_some());
    assert_eq!(Log::resume(299, tiles.clone()), None);
    assert_eq!(Log::resume(300, Tiles::new()), None);
    assert!(Log::resume(0, Tiles::new()).is_some());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_log_left_and_taken_up_anywhere_is_the_same_log(left_at in 0u64..700, more in 0u64..700) {
        let (_, mut kept) = grown(left_at);
        let mut log = Log::resume(left_at, kept.clone()).unwrap();
        for i in left_at..left_at + more {
            prop_assert_eq!(log.append(leaf_hash(format!("event {i}").as_bytes())), i);
        }
        kept.append(&mut log.take_changed());
        let (whole, tiles) = grown(left_at + more);
        prop_assert_eq!(log.root(), whole.root());
        prop_assert_eq!(&kept, &tiles);
        prop_assert_eq!(root(&tiles, left_at + more), Some(whole.root()));
    }

    #[test]
    fn a_proof_changed_in_any_bit_is_refused(size in 2u64..600, at in any::<prop::sample::Index>(), bit in 0usize..256) {
        let (log, tiles) = grown(size);
        let index = at.index(usize::try_from(size).unwrap()) as u64;
        let leaf = tiles.node(0, index).unwrap();
        let mut path = inclusion(&tiles, index, size).unwrap();
        let step = at.index(path.len());
        path[step][bit / 8] ^= 1 << (bit % 8);
        prop_assert!(!verify_inclusion(&leaf, index, size, &path, &log.root()));
        path[step][bit / 8] ^= 1 << (bit % 8);
        path.push([0; 32]);
        prop_assert!(!verify_inclusion(&leaf, index, size, &path, &log.root()));
        path.truncate(path.len() - 2);
        prop_assert!(!verify_inclusion(&leaf, index, size, &path, &log.root()));
    }

    #[test]
    fn a_history_changed_anywhere_is_not_continued(size in 2u64..400, at in any::<prop::sample::Index>(), first in any::<prop::sample::Index>()) {
        let first = first.index(usize::try_from(size).unwrap()) as u64 + 1;
        let changed = at.index(usize::try_from(first).unwrap()) as u64;
        let mut forged = Log::default();
        let mut forged_first = empty_root();
        for i in 0..size {
            let text = if i == changed { "another event".to_owned() } else { format!("event {i}") };
            forged.append(leaf_hash(text.as_bytes()));
            if i + 1 == first { forged_first = forged.root(); }
        }
        let path = consistency(&forged.take_changed(), first, size).unwrap();
        prop_assert!(verify_consistency(first, size, &path, &forged_first, &forged.root()));
        let (_, tiles) = grown(first);
        let honest_first = root(&tiles, first).unwrap();
        prop_assert!(!verify_consistency(first, size, &path, &honest_first, &forged.root()));
    }
}
