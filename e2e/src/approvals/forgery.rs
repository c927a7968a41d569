//! Every field of an approval, forged by each of six. Each forgery is one change to a write that is good otherwise, and a dry run: the
//! API server judges it as any other, and the approval stays as it is for the next.

use exeat_crds::Approval;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, CustomResourceExt, ResourceExt};
use serde_json::{Value, json};

use super::Actor;
use crate::{Result, Scope, ensure};

const NOT_ME: &str = "you are ";
const MUST_BE_ME: &str = "must be yourself, and a person";
const ONLY_DECISIONS: &str = "only spec.decisions of an approval may be changed";
const NOT_OURS: &str = "only the controller creates or deletes approvals or writes their status";

/// Which words refuse a forgery.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The webhook's, or behind it those of the admission policy.
    Webhook,
    /// The admission policy's or the schema's: the webhook's configuration is gone.
    PolicyAlone,
}

type Forge = Box<dyn Fn(&mut Value, &str)>;

/// What is forged, and the words that refuse it with and without the webhook.
struct Forgery {
    what: String,
    act: Act,
    forge: Forge,
    with: &'static str,
    without: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Act {
    Patch,
    Status,
    Create,
    Delete,
    DeleteAll,
}

impl Act {
    fn is_open_to(self, actor: &Actor) -> bool {
        match actor.role {
            "admin" => true,
            "agent" | "approver" | "other approver" => self == Self::Patch,
            _ => false,
        }
    }

    fn refused_by_rbac(self) -> &'static str {
        match self {
            Self::Patch => "cannot patch resource \"approvals\"",
            Self::Status => "cannot patch resource \"approvals/status\"",
            Self::Create => "cannot create resource \"approvals\"",
            Self::Delete => "cannot delete resource \"approvals\"",
            Self::DeleteAll => "cannot deletecollection resource \"approvals\"",
        }
    }
}

/// A denial in somebody's name, complete as the webhook would make it: of all decisions the one that needs the least.
fn denial(approval: &Value, user: &str) -> Value {
    json!({"approver": user, "decision": "Deny", "digest": approval["spec"]["request"]["digest"], "time": "2026-01-01T00:00:00Z"})
}

fn add(approval: &mut Value, decision: Value) {
    if let Some(decisions) = approval["spec"]["decisions"].as_array_mut() {
        decisions.push(decision);
    }
}

fn patch(what: &str, with: &'static str, without: &'static str, forge: impl Fn(&mut Value, &str) + 'static) -> Forgery {
    Forgery { what: what.to_owned(), act: Act::Patch, forge: Box::new(forge), with, without }
}

/// A change beside a good denial of one's own.
fn beside(what: &str, with: &'static str, without: &'static str, forge: impl Fn(&mut Value) + 'static) -> Forgery {
    patch(what, with, without, move |approval, user| {
        let own = denial(approval, user);
        add(approval, own);
        forge(approval);
    })
}

/// A change to one's own denial.
fn own(what: &str, with: &'static str, without: &'static str, forge: impl Fn(&mut Value) + 'static) -> Forgery {
    patch(what, with, without, move |approval, user| {
        let mut own = denial(approval, user);
        forge(&mut own);
        add(approval, own);
    })
}

/// The same with everything in it different.
fn other(value: &Value) -> Value {
    match value {
        // Another word of the few that there are.
        Value::String(text) if text == "PrincipalOnly" => json!("Provider"),
        Value::String(text) => json!(format!("{text}0")),
        Value::Number(number) => json!(number.as_i64().unwrap_or_default() + 1),
        Value::Array(items) => {
            let more = items.first().map(other);
            Value::Array(items.iter().cloned().chain(more).collect())
        }
        Value::Object(fields) => Value::Object(fields.iter().map(|(key, value)| (key.clone(), other(value))).collect()),
        simple => simple.clone(),
    }
}

/// Holds a list of forgeries to the definition, in which the next field may be one that nobody has thought of here.
fn each_field(part: &str, is_forged: impl Fn(&str) -> bool) -> Result {
    let schema = serde_json::to_value(Approval::crd())?;
    let fields = schema.pointer(&format!("/spec/versions/0/schema/openAPIV3Schema/properties/{part}/properties"));
    let fields: Vec<&String> = fields.and_then(Value::as_object).into_iter().flat_map(|all| all.keys()).collect();
    let missing: Vec<&&String> = fields.iter().filter(|field| !is_forged(field)).collect();
    ensure!(!fields.is_empty() && missing.is_empty(), "{part}: {missing:?}: every field is to be forged");
    Ok(())
}

fn request(approval: &Approval) -> Result<Vec<Forgery>> {
    const WITH: &str = "spec.request: it is what people are asked";
    const WITHOUT: &str = "spec.request is immutable";
    let Value::Object(fields) = serde_json::to_value(&approval.spec.request)? else { return Ok(Vec::new()) };
    each_field("spec/properties/request", |field| fields.contains_key(field))?;
    let forgeries = fields.into_iter().map(|(key, value)| {
        beside(&format!("spec.request.{key}"), WITH, WITHOUT, move |approval| {
            approval["spec"]["request"][&key] = other(&value);
        })
    });
    let dropped =
        beside("spec.request.excluded dropped", WITH, WITHOUT, |a| a["spec"]["request"]["excluded"] = Value::Null);
    Ok(forgeries.chain([dropped]).collect())
}

fn decisions() -> Vec<Forgery> {
    let turned = "a decision can only change from Approve to Deny";
    let theirs = |key: &'static str, value: Value| {
        patch(&format!("another's {key}"), NOT_ME, turned, move |a, _| a["spec"]["decisions"][0][key] = value.clone())
    };
    vec![
        patch("another's name", NOT_ME, MUST_BE_ME, |a, _| {
            let decision = denial(a, "zoe");
            add(a, decision);
        }),
        beside("two at once", "2 decisions at once", "write exactly one decision", |a| {
            let decision = denial(a, "zoe");
            add(a, decision);
        }),
        patch("another's taken away", "would be taken away", "decisions can't be taken back", |a, user| {
            a["spec"]["decisions"] = json!([denial(a, user)]);
        }),
        patch("all taken away", "would be taken away", "decisions can't be taken back", |a, _| {
            a["spec"]["decisions"] = json!([]);
        }),
        patch("another's turned", NOT_ME, MUST_BE_ME, |a, _| a["spec"]["decisions"][0]["decision"] = json!("Deny")),
        theirs("groups", json!(["security", "data"])),
        theirs("digest", json!("0")),
        theirs("uid", json!("root")),
        theirs("comment", json!("forged")),
        theirs("time", json!("2026-01-01T00:00:00Z")),
        own("digest", "it is not the digest of this request", "digest must be that of spec.request", |d| {
            d["digest"] = json!("0");
        }),
    ]
}

fn metadata() -> Vec<Forgery> {
    let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "1"}]);
    let set = |key: &'static str, value: Value| {
        let what = format!("metadata.{key}");
        beside(&what, ONLY_DECISIONS, ONLY_DECISIONS, move |a| a["metadata"][key] = value.clone())
    };
    vec![
        set("labels", json!({"exeat.dev/session": "x"})),
        set("annotations", json!({"exeat.dev/requester": "zoe"})),
        set("finalizers", json!(["exeat.test/stay"])),
        set("ownerReferences", owner),
        patch("metadata.finalizers alone", ONLY_DECISIONS, ONLY_DECISIONS, |a, _| {
            a["metadata"]["finalizers"] = json!(["exeat.test/stay"]);
        }),
    ]
}

fn whole() -> Result<Vec<Forgery>> {
    let status = [
        ("phase", json!("Approved")),
        ("used", json!(7)),
        ("consumers", json!(["x"])),
        ("decidedAt", json!("2026-01-01T00:00:00Z")),
        ("validUntil", json!("2099-01-01T00:00:00Z")),
        ("coolDownUntil", json!("2026-01-01T00:00:00Z")),
        ("missing", json!(["nobody"])),
        ("heard", json!(["ann Approve"])),
        (
            "conditions",
            json!([{"type": "Decided", "status": "True", "reason": "Ready", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]),
        ),
    ];
    each_field("status", |field| status.iter().any(|(forged, _)| *forged == field))?;
    let forge = |what: &str, act, forge: Forge| Forgery {
        what: what.to_owned(),
        act,
        forge,
        with: NOT_OURS,
        without: NOT_OURS,
    };
    let mut all: Vec<Forgery> = status
        .into_iter()
        .map(|(key, value)| {
            let status = move |a: &mut Value, _: &str| a["status"] = json!({key: value});
            forge(&format!("status.{key}"), Act::Status, Box::new(status))
        })
        .collect();
    let renamed = |a: &mut Value, _: &str| a["metadata"] = json!({"name": "forged"});
    all.push(forge("an approval of one's own", Act::Create, Box::new(renamed)));
    all.push(forge("the approval removed", Act::Delete, Box::new(|_, _| ())));
    all.push(forge("the queue removed", Act::DeleteAll, Box::new(|_, _| ())));
    Ok(all)
}

/// What only the webhook can know and puts right; without it, the policy refuses what is not true.
fn stamps() -> Vec<Forgery> {
    const GROUPS: &str = "groups must be yours, and among those of spec.request.required";
    let yes = |groups: Value| {
        move |d: &mut Value| {
            d["decision"] = json!("Approve");
            d["groups"] = groups.clone();
        }
    };
    vec![
        own("a group that one is not in", "", GROUPS, yes(json!(["security", "data"]))),
        own("a group that nobody asked for", "", GROUPS, yes(json!(["staff"]))),
        own("the cluster's own group", "", GROUPS, yes(json!(["system:authenticated"]))),
        own("no group at all", "", "to approve you must be in one of the groups", yes(json!([]))),
        own("another's uid", "", "time and uid are stamped", |d| d["uid"] = json!("root")),
        own("no time", "", "time and uid are stamped", |d| d["time"] = Value::Null),
    ]
}

/// Each of the six forges each field, is refused with the words that are meant for it, and could do the same without the forgery.
///
/// # Errors
/// All that got through, or was refused for another reason.
pub async fn forge_each_field(ns: &Scope, six: &[Actor], approval: &Approval, part: Part) -> Result<usize> {
    let mut all = request(approval)?;
    all.extend(decisions());
    all.extend(metadata());
    all.extend(whole()?);
    each_is_refused(ns, six, approval, part, &all).await
}

/// Each of the six forges what the webhook would stamp, and there is no webhook.
///
/// # Errors
/// As [`forge_each_field`].
pub async fn forge_stamps(ns: &Scope, six: &[Actor], approval: &Approval) -> Result<usize> {
    each_is_refused(ns, six, approval, Part::PolicyAlone, &stamps()).await
}

async fn each_is_refused(ns: &Scope, six: &[Actor], approval: &Approval, part: Part, all: &[Forgery]) -> Result<usize> {
    let (mut holes, mut count) = (Vec::new(), 0);
    let honest = patch("nothing forged", "", "", |a, user| {
        let own = denial(a, user);
        add(a, own);
    });
    for actor in six {
        let may = Act::Patch.is_open_to(actor) && actor.role != "agent";
        let told = attempt(ns, actor, approval, &honest).await?;
        if may != told.is_empty() {
            holes.push(format!("{} without any forgery: {told:?}", actor.role));
        }
        for forgery in all {
            count += 1;
            let told = attempt(ns, actor, approval, forgery).await?;
            if !is_right(actor, forgery, part, &told) {
                holes.push(format!("{}, {}: {told:?}", actor.role, forgery.what));
            }
        }
    }
    ensure!(holes.is_empty(), "{} of {count}:\n{}", holes.len(), holes.join("\n"));
    Ok(count)
}

/// An account may be told that it is no person before it is told what else is wrong.
fn is_right(actor: &Actor, forgery: &Forgery, part: Part, told: &str) -> bool {
    let (meant, no_person) = match part {
        Part::Webhook => (forgery.with, "is no person"),
        Part::PolicyAlone => (forgery.without, MUST_BE_ME),
    };
    match forgery.act.is_open_to(actor) {
        false => told.contains(forgery.act.refused_by_rbac()),
        true => told.contains(meant) || (actor.role == "agent" && told.contains(no_person)),
    }
}

/// The refusal; empty where there is none.
async fn attempt(ns: &Scope, actor: &Actor, approval: &Approval, forgery: &Forgery) -> Result<String> {
    let mut forged = serde_json::to_value(approval)?;
    forged["metadata"] = json!({"name": approval.name_any(), "namespace": ns.name});
    (forgery.forge)(&mut forged, &actor.user);
    let (api, name): (Api<Approval>, _) = (actor.approvals(ns), approval.name_any());
    let (dry, create) = (
        PatchParams { dry_run: true, ..PatchParams::default() },
        PostParams { dry_run: true, ..PostParams::default() },
    );
    let delete = DeleteParams { dry_run: true, ..DeleteParams::default() };
    let told = match forgery.act {
        Act::Patch => api.patch(&name, &dry, &Patch::Merge(&forged)).await.map(|_| ()),
        Act::Status => {
            api.patch_status(&name, &dry, &Patch::Merge(&json!({"status": forged["status"]}))).await.map(|_| ())
        }
        Act::Create => api.create(&create, &serde_json::from_value(forged)?).await.map(|_| ()),
        Act::Delete => api.delete(&name, &delete).await.map(|_| ()),
        Act::DeleteAll => api.delete_collection(&delete, &ListParams::default()).await.map(|_| ()),
    };
    match told {
        Ok(()) => Ok(String::new()),
        Err(kube::Error::Api(status)) => Ok(status.message.clone()),
        Err(error) => Err(error.into()),
    }
}
