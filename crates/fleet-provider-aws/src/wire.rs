//! Small pieces of the EC2 wire: filters, tags and times, in their one spelling.
//!
//! Invariant: tags are written and read through the kit's marks alone, so that nothing of a stranger's
//! is taken for ours.

use aws_sdk_ec2::types::{Filter, ResourceType, Tag, TagSpecification};
use aws_smithy_types::DateTime;
use fleet_provider::{LaunchRequest, OwnerTag, ProviderError};
use fleet_provider_kit::{Effect, mark};
use fleet_types::Timestamp;

/// A filter on one name, any of the values.
pub(crate) fn filter<S: Into<String>>(name: &str, values: impl IntoIterator<Item = S>) -> Filter {
    let values = values.into_iter().map(Into::into).collect();
    Filter::builder().name(name).set_values(Some(values)).build()
}

/// The filter that finds everything of one fleet.
pub(crate) fn owned(owner: &OwnerTag) -> Filter {
    filter(&format!("tag:{}", mark::FLEET), [owner.fleet.as_str()])
}

/// Every tag of a create, on one kind of thing that it makes.
pub(crate) fn launch_tags(request: &LaunchRequest, on: ResourceType) -> TagSpecification {
    tagged(on, mark::tags(request))
}

/// The tags of what all machines of a fleet share: no job, no expiry.
pub(crate) fn shared_tags(owner: &OwnerTag, name: &str, on: ResourceType) -> TagSpecification {
    let tags = [(mark::NAME, name.to_owned()), (mark::FLEET, owner.fleet.to_string())];
    tagged(on, tags.map(|(k, v)| (k.to_owned(), v)))
}

fn tagged(on: ResourceType, tags: impl IntoIterator<Item = (String, String)>) -> TagSpecification {
    let tags = tags.into_iter().map(|(k, v)| Tag::builder().key(k).value(v).build()).collect();
    TagSpecification::builder().resource_type(on).set_tags(Some(tags)).build()
}

/// The value of one tag.
pub(crate) fn tag<'a>(tags: &'a [Tag], name: &str) -> Option<&'a str> {
    tags.iter().find(|t| t.key() == Some(name)).and_then(Tag::value)
}

/// A time of AWS.
pub(crate) fn time(at: &DateTime) -> Option<Timestamp> {
    at.to_millis().ok().map(Timestamp::from_millis)
}

/// The set that an answer must hold; one that is missing is unreadable, never empty.
pub(crate) fn needed<T>(operation: &'static str, set: Option<T>) -> Result<T, ProviderError> {
    set.ok_or_else(|| Effect::Read.unreadable(operation, "the answer holds no list"))
}
