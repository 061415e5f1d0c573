//! The time as a server elsewhere says it: the `Date` of an answer.
//!
//! Good to a second and the way there and back, which is all that is needed: clocks a minute apart agree.

use fleet_types::Timestamp;
use reqwest::redirect::Policy;
use std::time::Duration;

/// Who does not answer within this is not waited for.
const LIMIT: Duration = Duration::from_secs(5);

/// Asks `url`; none where nobody answers, or where a cache kept the answer.
pub(super) async fn time(url: &str) -> Option<Timestamp> {
    fleet_provider_kit::http::install_crypto();
    let client = reqwest::Client::builder().timeout(LIMIT).redirect(Policy::none()).build().ok()?;
    let answer = match client.get(url).send().await {
        Ok(answer) => answer,
        Err(e) => {
            tracing::debug!("no clock outside answers: {e}");
            return None;
        }
    };
    if answer.headers().contains_key("age") {
        return None;
    }
    date(answer.headers().get("date")?.to_str().ok()?)
}

/// Reads `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, the only form that servers may send).
fn date(text: &str) -> Option<Timestamp> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_, rest) = text.split_once(", ")?;
    let parts: Vec<&str> = rest.split(' ').collect();
    let [day, month, year, clock, "GMT"] = parts[..] else { return None };
    let month = MONTHS.iter().position(|m| *m == month)? + 1;
    Timestamp::parse(&format!("{year}-{month:02}-{day}T{clock}Z"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// A server that gives one answer; its URL.
    pub(in crate::clock) async fn server(answer: impl Into<String>) -> String {
        let answer = answer.into();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = [0; 1024];
            assert!(stream.read(&mut asked).await.unwrap() > 0);
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        url
    }

    #[test]
    fn only_a_whole_date_is_one() {
        assert_eq!(date("Sun, 06 Nov 1994 08:49:37 GMT"), Timestamp::parse("1994-11-06T08:49:37Z"));
        for odd in [
            "",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun Nov  6 08:49:37 1994",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Sun, 06 Non 1994 08:49:37 GMT",
        ] {
            assert_eq!(date(odd), None, "{odd}");
        }
    }

    #[tokio::test]
    async fn an_answer_tells_the_time_unless_it_was_kept() {
        let fresh =
            "HTTP/1.1 403 No\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(
            time(&server(fresh).await).await,
            Timestamp::parse("1994-11-06T08:49:37Z"),
            "whatever it answers, it has a clock"
        );
        let kept = "HTTP/1.1 200 OK\r\nAge: 7200\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(time(&server(kept).await).await, None);
        assert_eq!(time(&server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await).await, None);
        assert_eq!(time("http://127.0.0.1:1/").await, None);
    }
}
