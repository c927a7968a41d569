//! The shared memory volume: the loopback secret, and for Kubernetes kubeconfig, roots and token.
//!
//! Files appear whole, by rename. Agents see the volume read-only.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use exeat_wire::KubernetesCredential;

use crate::protocol::kubernetes::{self, Paths};

/// Agents run under other user ids.
const FILE_MODE: u32 = 0o444;
const FOLDER_MODE: u32 = 0o755;

/// The folder shared with the agent.
#[derive(Clone, Debug)]
pub struct RunDir {
    folder: PathBuf,
    /// Where agents have the same volume.
    shown: PathBuf,
    port: u16,
}

impl RunDir {
    /// The folder at `folder`, for a sidecar that listens on `port`.
    pub fn new(folder: PathBuf, port: u16) -> Self {
        Self { shown: folder.clone(), folder, port }
    }

    /// The folder of a group of containers, which have it at `shown`. The sidecar has it beside that of the first group, with the number in its name.
    pub fn of_group(shown: &Path, number: usize, port: u16) -> Self {
        let mut folder = shown.as_os_str().to_owned();
        if number > 0 {
            folder.push(format!("-{number}"));
        }
        Self { folder: folder.into(), shown: shown.to_owned(), port }
    }

    /// The folder as the sidecar has it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes the loopback secret to `token`, without a newline.
    ///
    /// # Errors
    /// When the folder can't be written.
    pub fn write_secret(&self, secret: &str) -> io::Result<()> {
        write(&self.secret_path(), secret.as_bytes())
    }

    /// Writes token, roots and then the kubeconfig that names them.
    ///
    /// # Errors
    /// When the folder can't be written.
    pub fn write_kubernetes(&self, credential: &KubernetesCredential) -> io::Result<()> {
        self.make_folder()?;
        let (roots, token) = (self.kubernetes("ca.crt"), self.kubernetes("token"));
        write(&token, credential.token.expose().as_bytes())?;
        write(&roots, credential.certificate_authority.as_bytes())?;
        let shown = |name| kubernetes_file(&self.shown, name).to_string_lossy().into_owned();
        let paths = Paths { certificate_authority: &shown("ca.crt"), token: &shown("token") };
        write(&self.kubernetes("kubeconfig"), kubernetes::kubeconfig(credential, paths).as_bytes())
    }

    /// Points the kubeconfig at the refusal and removes the token.
    ///
    /// # Errors
    /// When the folder can't be written.
    pub fn deny_kubernetes(&self) -> io::Result<()> {
        self.make_folder()?;
        let removed = remove(&self.kubernetes("token"));
        write(&self.kubernetes("kubeconfig"), kubernetes::denied_kubeconfig(self.port).as_bytes())?;
        removed
    }

    /// Removes all that was written; what can't be removed is left.
    pub fn clean(&self) {
        let files =
            [self.kubernetes("token"), self.kubernetes("kubeconfig"), self.kubernetes("ca.crt"), self.secret_path()];
        for file in files {
            if let Err(error) = remove(&file) {
                tracing::warn!(%error, file = %file.display(), "can't remove");
            }
        }
    }

    fn secret_path(&self) -> PathBuf {
        self.folder.join("token")
    }

    fn kubernetes(&self, name: &str) -> PathBuf {
        kubernetes_file(&self.folder, name)
    }

    fn make_folder(&self) -> io::Result<()> {
        let folder = self.folder.join("kubernetes");
        if !folder.is_dir() {
            fs::create_dir(&folder)?;
            fs::set_permissions(&folder, Permissions::from_mode(FOLDER_MODE))?;
        }
        Ok(())
    }
}

fn kubernetes_file(folder: &Path, name: &str) -> PathBuf {
    folder.join("kubernetes").join(name)
}

fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let draft = path.with_extension("new");
    remove(&draft)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&draft)?;
    file.write_all(content)?;
    // The umask may have taken bits away.
    file.set_permissions(Permissions::from_mode(FILE_MODE))?;
    fs::rename(&draft, path)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use exeat_wire::Secret;

    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("exeat-files-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_secret_is_readable_by_all_without_newline_and_replaced_whole() {
        let folder = Folder::new("secret");
        let run = RunDir::new(folder.0.clone(), 9911);
        for secret in ["one", "two"] {
            run.write_secret(secret).unwrap();
            assert_eq!(fs::read_to_string(folder.0.join("token")).unwrap(), secret);
        }
        assert_eq!(mode(&folder.0.join("token")), 0o444);
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn a_denial_takes_the_token_away_and_leaves_a_kubeconfig_that_leads_here() {
        let folder = Folder::new("kubernetes");
        let run = RunDir::new(folder.0.clone(), 9911);
        let credential = KubernetesCredential {
            server: "https://api".into(),
            certificate_authority: "PEM".into(),
            namespace: "agents".into(),
            token: Secret::new("t-1"),
        };
        let files = folder.0.join("kubernetes");
        run.deny_kubernetes().unwrap();
        for _ in 0..2 {
            run.write_kubernetes(&credential).unwrap();
            assert_eq!(fs::read_to_string(files.join("token")).unwrap(), "t-1");
            assert_eq!(fs::read_to_string(files.join("ca.crt")).unwrap(), "PEM");
            let config = fs::read_to_string(files.join("kubeconfig")).unwrap();
            assert!(config.contains(files.join("token").to_str().unwrap()), "{config}");
            assert_eq!((mode(&files), mode(&files.join("token"))), (0o755, 0o444));
            run.deny_kubernetes().unwrap();
            assert!(!files.join("token").exists());
            assert!(fs::read_to_string(files.join("kubeconfig")).unwrap().contains("/kubernetes/denied"));
        }
        run.write_secret("s").unwrap();
        run.clean();
        assert_eq!(fs::read_dir(&files).unwrap().count(), 0);
        assert!(!folder.0.join("token").exists());
    }

    #[test]
    fn a_group_finds_its_files_where_every_group_does() {
        let folder = Folder::new("group");
        let (shown, own) = (folder.0.join("run"), folder.0.join("run-1"));
        fs::create_dir(&own).unwrap();
        let run = RunDir::of_group(&shown, 1, 9912);
        run.write_secret("s").unwrap();
        run.write_kubernetes(&KubernetesCredential {
            server: "https://api".into(),
            certificate_authority: "PEM".into(),
            namespace: "agents".into(),
            token: Secret::new("t-1"),
        })
        .unwrap();
        assert!(!shown.exists() && own.join("token").exists());
        let config = fs::read_to_string(own.join("kubernetes/kubeconfig")).unwrap();
        assert!(config.contains(shown.join("kubernetes/token").to_str().unwrap()), "{config}");
        run.deny_kubernetes().unwrap();
        assert!(fs::read_to_string(own.join("kubernetes/kubeconfig")).unwrap().contains(":9912/kubernetes/denied"));
        assert_eq!(RunDir::of_group(&shown, 0, 9911).folder(), shown);
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        let run = RunDir::new("/nonexistent/exeat".into(), 9911);
        assert!(run.write_secret("s").is_err() && run.deny_kubernetes().is_err());
    }
}
