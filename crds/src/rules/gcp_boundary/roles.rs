//! Predefined roles of Cloud Storage that a boundary may name, smallest first. Google adds to them from time to time; what is a role's own
//! here is what it is for.

/// A predefined role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Role {
    /// As a binding names it.
    pub name: &'static str,
    /// What it is for: all of it must be allowed.
    pub core: &'static [&'static str],
    /// What goes along with it, whether it is allowed or not.
    pub also: &'static [&'static str],
}

const OBJECT_WRITES: &[&str] = &[
    "storage.objects.move",
    "storage.objects.restore",
    "storage.folders.create",
    "storage.folders.delete",
    "storage.folders.get",
    "storage.folders.list",
    "storage.folders.rename",
    "storage.managedFolders.create",
    "storage.managedFolders.delete",
    "storage.managedFolders.get",
    "storage.managedFolders.list",
    "storage.multipartUploads.abort",
    "storage.multipartUploads.create",
    "storage.multipartUploads.list",
    "storage.multipartUploads.listParts",
];

/// All of them.
pub const ROLES: [Role; 7] = [
    Role { name: "roles/storage.bucketViewer", core: &["storage.buckets.get"], also: &["storage.buckets.list"] },
    Role { name: "roles/storage.legacyObjectReader", core: &["storage.objects.get"], also: &[] },
    Role {
        name: "roles/storage.objectViewer",
        core: &["storage.objects.get", "storage.objects.list"],
        also: &[
            "storage.folders.get",
            "storage.folders.list",
            "storage.managedFolders.get",
            "storage.managedFolders.list",
        ],
    },
    Role {
        name: "roles/storage.objectCreator",
        core: &["storage.objects.create"],
        also: &[
            "storage.folders.create",
            "storage.managedFolders.create",
            "storage.multipartUploads.abort",
            "storage.multipartUploads.create",
            "storage.multipartUploads.listParts",
        ],
    },
    Role {
        name: "roles/storage.legacyObjectOwner",
        core: &[
            "storage.objects.get",
            "storage.objects.getIamPolicy",
            "storage.objects.setIamPolicy",
            "storage.objects.update",
        ],
        also: &["storage.objects.overrideUnlockedRetention", "storage.objects.setRetention"],
    },
    Role {
        name: "roles/storage.objectUser",
        core: &[
            "storage.objects.create",
            "storage.objects.delete",
            "storage.objects.get",
            "storage.objects.list",
            "storage.objects.update",
        ],
        also: OBJECT_WRITES,
    },
    Role {
        name: "roles/storage.objectAdmin",
        core: &[
            "storage.objects.create",
            "storage.objects.delete",
            "storage.objects.get",
            "storage.objects.getIamPolicy",
            "storage.objects.list",
            "storage.objects.overrideUnlockedRetention",
            "storage.objects.setIamPolicy",
            "storage.objects.setRetention",
            "storage.objects.update",
        ],
        also: OBJECT_WRITES,
    },
];

impl Role {
    /// Whether it gives this permission.
    pub fn holds(&self, permission: &str) -> bool {
        self.core.contains(&permission) || self.also.contains(&permission)
    }
}

/// Every permission that is known of here.
pub(super) fn known() -> impl Iterator<Item = &'static str> {
    let mut all: Vec<&str> = ROLES.iter().flat_map(|role| role.core.iter().chain(role.also)).copied().collect();
    all.sort_unstable();
    all.dedup();
    all.into_iter()
}
