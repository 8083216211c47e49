//! Who is answered: the browser that was given the address, and no page of others in it.

use parking_lot::Mutex;

use super::http::{Ask, Reply};
use crate::exit::Failure;
use crate::secret::{is_same, secret};

/// What opens the way.
pub struct Guard {
    port: u16,
    /// What the address has, until it was used. A leaf.
    token: Mutex<Option<String>>,
    /// The directory of the page. Cookies know no ports: by this the browser keeps this
    /// one from what other users may serve on other ports of this machine.
    session: String,
    cookie: String,
}

/// Where a request leads.
pub enum Way {
    /// To the page, or below it: this is the rest of the path.
    In(String),
    /// To an answer.
    Out(Reply),
}

impl Guard {
    /// For a server on a port of this machine.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn new(port: u16) -> Result<Guard, Failure> {
        let token = Mutex::new(Some(secret()?));
        Ok(Guard { port, token, session: format!("/{}/", secret()?), cookie: secret()? })
    }

    /// What a browser is to open.
    pub fn address(&self) -> String {
        let token = self.token.lock().clone().unwrap_or_default();
        format!("http://127.0.0.1:{}/?token={token}", self.port)
    }

    /// Judges a request.
    pub fn judge(&self, ask: &Ask) -> Way {
        let refuse = |status, text| Way::Out(Reply::text(status, text));
        let hosts = [format!("127.0.0.1:{}", self.port), format!("localhost:{}", self.port)];
        // Another name leads here: that of a page of others, which would pass for ours.
        let Some(host) = ask.host.as_ref().filter(|host| hosts.contains(host)) else {
            return refuse(403, "This address is not served here.");
        };
        if !ask.post && ask.path == "/" {
            return self.let_in(ask);
        }
        let own = ask.site.as_deref().is_none_or(|site| matches!(site, "same-origin" | "none"));
        let origin = format!("http://{host}");
        let from_here = match &ask.origin {
            Some(told) => *told == origin,
            None => !ask.post,
        };
        if !own || !from_here || ask.post && !ask.json {
            return refuse(403, "This comes from elsewhere.");
        }
        let cookies = ask.cookies.split(';').filter_map(|pair| pair.trim().split_once('='));
        let known = cookies
            .into_iter()
            .any(|(name, value)| name == "mini_fo_review" && is_same(value, &self.cookie));
        let first = ask.path.get(..self.session.len()).unwrap_or_default();
        match ask.path.get(self.session.len()..) {
            Some(rest) if known && is_same(first, &self.session) => Way::In(rest.to_owned()),
            _ => refuse(403, "The address with its token leads here, and it can be used once."),
        }
    }

    /// Takes the token for a cookie. A page that leads on, and no redirection: that would
    /// still count as a step of whoever had the link, and the cookie is not sent then.
    fn let_in(&self, ask: &Ask) -> Way {
        let given = ask.value("token").unwrap_or_default();
        let mut token = self.token.lock();
        if !token.as_ref().is_some_and(|token| is_same(token, given)) {
            let text = "This address has no token, or one that was used already: it can be used \
                        once. Go on in the window that is open, or start mini_fo review again.";
            return Way::Out(Reply::text(403, text));
        }
        *token = None;
        let page = format!(
            "<!doctype html><meta charset=utf-8><title>mini_fo review</title>\
             <meta http-equiv=refresh content=\"0;url={0}\"><a href=\"{0}\">Review</a>\n",
            self.session
        );
        let mut reply = Reply::new(200, "text/html; charset=utf-8", page);
        // A sandbox would have another origin.
        reply.head = format!(
            "Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\nSet-Cookie: \
             mini_fo_review={}; Path={}; HttpOnly; SameSite=Strict\r\n",
            self.cookie, self.session
        );
        Way::Out(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> Guard {
        Guard::new(80).unwrap()
    }

    fn status(guard: &Guard, ask: &Ask) -> u16 {
        match guard.judge(ask) {
            Way::In(_) => 0,
            Way::Out(reply) => reply.status,
        }
    }

    fn opening(token: &str) -> Ask {
        let host = Some("127.0.0.1:80".to_owned());
        Ask { path: "/".into(), query: format!("token={token}"), host, ..Ask::default() }
    }

    #[test]
    fn a_token_opens_once() {
        let guard = guard();
        let token = guard.address().split_once('=').unwrap().1.to_owned();
        assert_eq!(token.len(), 64);
        assert_eq!(status(&guard, &opening("")), 403);
        assert_eq!(status(&guard, &opening(&token[1..])), 403);
        assert_eq!(status(&guard, &opening(&token)), 200);
        assert_eq!(status(&guard, &opening(&token)), 403);
        assert_eq!(status(&guard, &opening("")), 403, "no token is none");
    }

    #[test]
    fn only_the_page_itself_asks() {
        let guard = guard();
        let good = |post| Ask {
            post,
            json: post,
            path: format!("{}api", guard.session),
            host: Some("127.0.0.1:80".to_owned()),
            origin: post.then(|| "http://127.0.0.1:80".to_owned()),
            cookies: format!("other=x; mini_fo_review={}", guard.cookie),
            ..Ask::default()
        };
        assert_eq!([status(&guard, &good(false)), status(&guard, &good(true))], [0, 0]);
        let text = |text: &str| Some(text.to_owned());
        let bad: [(&str, Ask); 12] = [
            ("no host", Ask { host: None, ..good(false) }),
            ("a host of others", Ask { host: text("evil.example:80"), ..good(false) }),
            ("another port", Ask { host: text("127.0.0.1:81"), ..good(false) }),
            ("no port", Ask { host: text("127.0.0.1"), ..good(false) }),
            ("no cookie", Ask { cookies: String::new(), ..good(false) }),
            ("another cookie", Ask { cookies: "mini_fo_review=".into(), ..good(false) }),
            ("no session", Ask { path: "/api".into(), ..good(false) }),
            ("another session", Ask { path: format!("/{}/api", "0".repeat(64)), ..good(false) }),
            ("no origin", Ask { origin: None, ..good(true) }),
            ("origin of others", Ask { origin: text("http://127.0.0.1:81"), ..good(true) }),
            ("no JSON", Ask { json: false, ..good(true) }),
            ("asked by others", Ask { site: text("same-site"), ..good(false) }),
        ];
        for (what, ask) in bad {
            assert_eq!(status(&guard, &ask), 403, "{what}");
        }
        assert_eq!(status(&guard, &Ask { origin: text("null"), ..good(true) }), 403);
    }
}
