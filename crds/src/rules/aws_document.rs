//! A grant as a session policy.
#![allow(missing_docs)]
use super::grant::Grant;
use crate::reason::Reason;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect { Aws, S3Compatible }

/// Longest session policy, characters.
pub const MAX_PLAIN: usize = 2048;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document { json: String }
impl Document {
    pub fn as_str(&self) -> &str { &self.json }
    pub fn plain_len(&self) -> usize { self.json.chars().count() }
    pub fn into_string(self) -> String { self.json }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}; {fix}")]
pub struct DocumentError { reason: Reason, problem: String, fix: String }
impl DocumentError {
    pub fn reason(&self) -> Reason { self.reason }
    pub fn code(&self) -> &'static str { self.reason.as_str() }
}

pub fn document(_grant: &Grant, _dialect: Dialect) -> Result<Document, DocumentError> {
    Err(DocumentError { reason: Reason::PolicyTooLarge, problem: String::new(), fix: String::new() })
}
