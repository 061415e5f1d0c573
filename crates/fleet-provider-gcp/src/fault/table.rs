//! The rows: what Compute Engine refuses with at once, and what an operation fails with afterwards.
//!
//! Source: the discovery document, Google's pages on troubleshooting creates, and what other tools' code
//! handles. Every row has a fixture in `fixtures/errors.txt`.

use fleet_provider_kit::Effect;
use fleet_types::{Fault, Scope};

type Row = (&'static str, Fault, Scope);

/// Reasons in the answer to a call (`error.errors[].reason`, `error.details[].reason`, `error.status`).
#[rustfmt::skip]
pub(super) const REASONS: &[Row] = &[
    // Too many calls.
    ("rateLimitExceeded",                Fault::Throttled, Scope::Provider),
    ("userRateLimitExceeded",            Fault::Throttled, Scope::Provider),
    ("RATE_LIMIT_EXCEEDED",              Fault::Throttled, Scope::Provider),
    ("concurrentLimitExceeded",          Fault::Throttled, Scope::Provider),
    // A limit of the project.
    ("quotaExceeded",                    Fault::Quota,     Scope::Region),
    ("limitExceeded",                    Fault::Quota,     Scope::Region),
    ("QUOTA_EXCEEDED",                   Fault::Quota,     Scope::Region),
    // Who we are, and what we may do.
    ("authError",                        Fault::Auth,      Scope::Provider),
    ("UNAUTHENTICATED",                  Fault::Auth,      Scope::Provider),
    ("ACCESS_TOKEN_EXPIRED",             Fault::Auth,      Scope::Provider),
    ("ACCESS_TOKEN_SCOPE_INSUFFICIENT",  Fault::Auth,      Scope::Provider),
    ("ACCESS_TOKEN_TYPE_UNSUPPORTED",    Fault::Auth,      Scope::Provider),
    ("CREDENTIALS_MISSING",              Fault::Auth,      Scope::Provider),
    ("forbidden",                        Fault::Auth,      Scope::Provider),
    ("insufficientPermissions",          Fault::Auth,      Scope::Provider),
    ("IAM_PERMISSION_DENIED",            Fault::Auth,      Scope::Provider),
    ("PERMISSION_DENIED",                Fault::Auth,      Scope::Provider),
    ("accessNotConfigured",              Fault::Auth,      Scope::Provider),
    ("SERVICE_DISABLED",                 Fault::Auth,      Scope::Provider),
    ("BILLING_DISABLED",                 Fault::Auth,      Scope::Provider),
    ("billingNotEnabled",                Fault::Auth,      Scope::Provider),
    ("accountDisabled",                  Fault::Auth,      Scope::Provider),
    ("CONSUMER_INVALID",                 Fault::Auth,      Scope::Provider),
    ("CONSUMER_SUSPENDED",               Fault::Auth,      Scope::Provider),
    ("USER_PROJECT_DENIED",              Fault::Auth,      Scope::Provider),
    ("VPC_SERVICE_CONTROLS",             Fault::Auth,      Scope::Provider),
    // None to be had, said at once.
    ("insufficientCapacity",             Fault::Capacity,  Scope::Zone),
    ("ZONE_RESOURCE_POOL_EXHAUSTED",     Fault::Capacity,  Scope::Zone),
    ("resourcePoolExhausted",            Fault::Capacity,  Scope::Zone),
    // The name is taken, the thing is gone, in use, or not ready.
    ("alreadyExists",                    Fault::Conflict,  Scope::Request),
    ("notFound",                         Fault::NotFound,  Scope::Request),
    ("resourceNotFound",                 Fault::NotFound,  Scope::Request),
    ("resourceInUseByAnotherResource",   Fault::Rejected,  Scope::Request),
    ("resourceNotReady",                 Fault::Transient, Scope::Request),
    // An organisation's policy, or a thing that changed meanwhile.
    ("conditionNotMet",                  Fault::Transient, Scope::Request),
    // A wrong request stays wrong.
    ("invalid",                          Fault::Rejected,  Scope::Request),
    ("invalidParameter",                 Fault::Rejected,  Scope::Request),
    ("INVALID_USAGE",                    Fault::Rejected,  Scope::Request),
    ("INVALID_ARGUMENT",                 Fault::Rejected,  Scope::Request),
    ("badRequest",                       Fault::Rejected,  Scope::Request),
    ("parseError",                       Fault::Rejected,  Scope::Request),
    ("required",                         Fault::Rejected,  Scope::Request),
    ("unsupportedOperation",             Fault::Rejected,  Scope::Offer),
    // Nobody knows.
    ("backendError",                     Fault::Unknown,   Scope::Request),
    ("internalError",                    Fault::Unknown,   Scope::Request),
    ("badGateway",                       Fault::Unknown,   Scope::Request),
    ("UNAVAILABLE",                      Fault::Unknown,   Scope::Request),
    ("INTERNAL",                         Fault::Unknown,   Scope::Request),
];

/// Codes of an operation that failed (`operation.error.errors[].code`) after its create was accepted.
#[rustfmt::skip]
pub(super) const CODES: &[Row] = &[
    ("ZONE_RESOURCE_POOL_EXHAUSTED",              Fault::Capacity,  Scope::Zone),
    ("ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", Fault::Capacity,  Scope::Zone),
    ("RESOURCE_POOL_EXHAUSTED",                   Fault::Capacity,  Scope::Zone),
    ("STOCKOUT",                                  Fault::Capacity,  Scope::Zone),
    ("VM_MIN_COUNT_NOT_REACHED",                  Fault::Capacity,  Scope::Zone),
    // The machine vanished while it was made: preempted before it was there.
    ("RESOURCE_NOT_FOUND",                        Fault::Capacity,  Scope::Zone),
    ("UNSUPPORTED_OPERATION",                     Fault::Capacity,  Scope::Zone),
    ("QUOTA_EXCEEDED",                            Fault::Quota,     Scope::Region),
    ("LIMIT_EXCEEDED",                            Fault::Quota,     Scope::Region),
    ("RESOURCE_OPERATION_RATE_EXCEEDED",          Fault::Throttled, Scope::Zone),
    ("OPERATION_RATE_EXCEEDED",                   Fault::Throttled, Scope::Zone),
    ("PERMISSIONS_ERROR",                         Fault::Auth,      Scope::Provider),
    ("CONDITION_NOT_MET",                         Fault::Rejected,  Scope::Provider),
    ("INVALID_USAGE",                             Fault::Rejected,  Scope::Request),
    ("INVALID_FIELD_VALUE",                       Fault::Rejected,  Scope::Request),
    ("INTERNAL_ERROR",                            Fault::Unknown,   Scope::Request),
];

/// The row of a reason. To a create, what is not there is what it names, and a condition is a policy.
pub(super) fn reason(code: &str, effect: Effect) -> Option<(Fault, Scope)> {
    match (code, effect) {
        ("notFound" | "resourceNotFound", Effect::Create) => {
            return Some((Fault::Rejected, Scope::Offer));
        }
        ("conditionNotMet", Effect::Create) => return Some((Fault::Rejected, Scope::Provider)),
        _ => {}
    }
    row(REASONS, code)
}

/// The row of an operation's code.
pub(super) fn late(code: &str) -> Option<(Fault, Scope)> {
    row(CODES, code)
}

fn row(rows: &[Row], code: &str) -> Option<(Fault, Scope)> {
    rows.iter().find(|(c, ..)| *c == code).map(|(_, fault, scope)| (*fault, *scope))
}
