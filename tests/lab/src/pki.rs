//! The certificates of one control plane: its authority, its server, its clients, its service account key.
//!
//! Kept in the control plane's folder, so that a control plane started again in it has the same certificates.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

/// The user as whom the API server connects to kubelets.
pub(crate) const TO_KUBELETS: &str = "kube-apiserver-to-kubelets";

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
    /// Opens the folder, and creates its certificates if it is new.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        if !folder.join("ca.crt").exists() {
            create(folder).with_context(|| format!("making the lab's certificates in {}", folder.display()))?;
        }
        let certificate = fs::read_to_string(folder.join("ca.crt"))?;
        let key = KeyPair::from_pem(&fs::read_to_string(folder.join("ca.key"))?)?;
        Ok(Self { folder: folder.to_owned(), issuer: Issuer::from_ca_cert_pem(&certificate, key)? })
    }

    /// The path of one of its files: `ca.crt`, `service-account.key`, `service-account.pub`, and those of written identities.
    pub(crate) fn path(&self, file: &str) -> String {
        self.folder.join(file).display().to_string()
    }

    /// The authority's certificate, PEM.
    pub(crate) fn authority(&self) -> Result<String> {
        Ok(fs::read_to_string(self.folder.join("ca.crt"))?)
    }

    /// Writes a server's certificate for these names and addresses to `<name>.crt` and `<name>.key` in a folder.
    pub(crate) fn write_server(&self, folder: &Path, name: &str, names: &[&str]) -> Result<()> {
        let mut params = CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Identity { certificate: certificate.pem(), key: key.serialize_pem() }.write(folder, name)
    }

    /// Writes a client's certificate to `<name>.crt` and `<name>.key` in its folder.
    pub(crate) fn write_client(&self, name: &str, groups: &[&str]) -> Result<()> {
        self.client(name, groups)?.write(&self.folder, name)
    }

    /// Its folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
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

impl Identity {
    fn write(&self, folder: &Path, name: &str) -> Result<()> {
        write_secret(&folder.join(format!("{name}.key")), &self.key)?;
        fs::write(folder.join(format!("{name}.crt")), &self.certificate)?;
        Ok(())
    }
}

fn create(folder: &Path) -> Result<()> {
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(DnType::CommonName, "holdfast lab");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate()?;
    let certificate = authority.self_signed(&key)?;
    write_secret(&folder.join("ca.key"), &key.serialize_pem())?;
    let accounts = KeyPair::generate()?;
    write_secret(&folder.join("service-account.key"), &accounts.serialize_pem())?;
    fs::write(folder.join("service-account.pub"), accounts.public_key_pem())?;
    // Written last: its presence means that the folder is complete.
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
