use std::os::unix::fs::symlink;
use std::path::Path;

use exeat_runtime::ca::{LEAF_VALIDITY, Leaf, Root};
use prometheus::Registry;

use super::*;

const HOST: &str = "exeat-webhook.exeat-system.svc";

fn leaf() -> Leaf {
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    Root::create("test", &[HOST], now).unwrap().issue(&[HOST], LEAF_VALIDITY, now).unwrap()
}

/// A volume as kubelet writes it: files are links through `..data`, which is swapped in one step.
fn write(folder: &Path, version: &str, certificate: &str, key: &str) {
    let data = folder.join(version);
    fs::create_dir(&data).unwrap();
    fs::write(data.join("tls.crt"), certificate).unwrap();
    fs::write(data.join("tls.key"), key).unwrap();
    symlink(version, folder.join("..tmp")).unwrap();
    fs::rename(folder.join("..tmp"), folder.join("..data")).unwrap();
}

#[test]
fn a_swapped_volume_is_served_and_a_bad_one_is_not() {
    let folder = std::env::temp_dir().join(format!("exeat-webhook-files-{}", std::process::id()));
    fs::create_dir(&folder).unwrap();
    for file in ["tls.crt", "tls.key"] {
        symlink(Path::new("..data").join(file), folder.join(file)).unwrap();
    }
    let resolver = CertResolver::empty();
    let certificate = FileCertificate {
        cert_file: folder.join("tls.crt"),
        key_file: folder.join("tls.key"),
        resolver: Arc::clone(&resolver),
        metrics: Metrics::new(&Registry::new()).unwrap(),
    };
    let mut seen = Seen::default();

    let missing = certificate.step(&mut seen).unwrap_err();
    assert!(missing.to_string().contains("tls.crt"), "{missing}");
    assert!(!resolver.is_set());

    let (one, two) = (leaf(), leaf());
    write(&folder, "v1", &one.chain_pem, one.key_pem.expose_secret());
    assert!(certificate.step(&mut seen).unwrap());
    assert!(!certificate.step(&mut seen).unwrap(), "unchanged files are not served again");
    assert!(resolver.is_set());

    write(&folder, "v2", &two.chain_pem, one.key_pem.expose_secret());
    let mismatch = certificate.step(&mut seen).unwrap_err();
    assert_eq!(mismatch.code(), "PrivateKeyMismatch");
    write(&folder, "v3", &two.chain_pem, two.key_pem.expose_secret());
    assert!(certificate.step(&mut seen).unwrap());
    fs::remove_dir_all(&folder).unwrap();
}
