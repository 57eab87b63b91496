//! The certificates of one control plane: its authority, its server, its clients, its service account key.
//!
//! Kept in the control plane's folder, so that a control plane that is started again is the same one.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

/// A folder of certificates and the authority that signs more.
pub(crate) struct Pki {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key, PEM.
pub(crate) struct Identity {
    pub certificate: String,
    pub key: String,
}

impl Pki {
    /// Opens the folder, and fills it if it is new.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        if !folder.join("ca.crt").exists() {
            found(folder).with_context(|| format!("making the lab's certificates in {}", folder.display()))?;
        }
        let certificate = fs::read_to_string(folder.join("ca.crt"))?;
        let key = KeyPair::from_pem(&fs::read_to_string(folder.join("ca.key"))?)?;
        Ok(Self { folder: folder.to_owned(), issuer: Issuer::from_ca_cert_pem(&certificate, key)? })
    }

    /// The path of one of its files: `ca.crt`, `server.crt`, `server.key`, `service-account.key`, `service-account.pub`.
    pub(crate) fn path(&self, file: &str) -> String {
        self.folder.join(file).display().to_string()
    }

    /// The authority's certificate, PEM.
    pub(crate) fn authority(&self) -> Result<String> {
        Ok(fs::read_to_string(self.folder.join("ca.crt"))?)
    }

    /// A client certificate: the API server takes the common name as the user and the organisations as groups.
    pub(crate) fn client(&self, user: &str, groups: &[&str]) -> Result<Identity> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, user);
        for group in groups {
            params.distinguished_name.push(DnType::OrganizationName, *group);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Identity { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

fn found(folder: &Path) -> Result<()> {
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(DnType::CommonName, "holdfast lab");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate()?;
    let certificate = authority.self_signed(&key)?;
    let issuer = Issuer::from_params(&authority, &key);

    let names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost", "127.0.0.1", "10.0.0.1"];
    let mut server = CertificateParams::new(names.map(String::from).to_vec())?;
    server.distinguished_name.push(DnType::CommonName, "kube-apiserver");
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let server_key = KeyPair::generate()?;
    let server = server.signed_by(&server_key, &issuer)?;

    write_secret(&folder.join("ca.key"), &key.serialize_pem())?;
    write_secret(&folder.join("server.key"), &server_key.serialize_pem())?;
    let accounts = KeyPair::generate()?;
    write_secret(&folder.join("service-account.key"), &accounts.serialize_pem())?;
    fs::write(folder.join("service-account.pub"), accounts.public_key_pem())?;
    fs::write(folder.join("server.crt"), server.pem())?;
    // Last: its presence says that the folder is complete.
    fs::write(folder.join("ca.crt"), certificate.pem())?;
    Ok(())
}

/// Writes a file that only its owner may read.
pub(crate) fn write_secret(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes()).with_context(|| format!("writing {}", path.display()))
}
