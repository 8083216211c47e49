//! The page of `mini_fo review` in a real browser, driven as a user does it: by keys.
//!
//! With `MINI_FO_SCREENSHOT=FILE` a picture of it is taken (scripts/review.sh).

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::{Scene, engine_is_product, is_root, sh, skip, skip_unless};
use crate::review_client::{Served, http};

const ENTER: &str = "\u{e007}";
const ESCAPE: &str = "\u{e00c}";

/// Chromium, through its WebDriver.
struct Browser {
    driver: Child,
    port: u16,
    session: String,
}

impl Browser {
    /// `None`: there is none here, which is said.
    fn start(home: &Path) -> Option<Browser> {
        if skip_unless(&["chromedriver"]) {
            return None;
        }
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            // What it leaves goes with the test.
            .env("HOME", home)
            .env("XDG_CONFIG_HOME", home)
            .env("XDG_CACHE_HOME", home)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver");
        let lines = BufReader::new(driver.stdout.take().expect("a pipe")).lines();
        let port = lines
            .map_while(Result::ok)
            .filter(|line| line.contains("started successfully"))
            .find_map(|line| line.trim_end_matches('.').rsplit(' ').next()?.parse().ok());
        let mut browser = Browser { driver, port: port.expect("a port"), session: String::new() };
        let profile = format!("--user-data-dir={}", home.display());
        let mut args = vec!["--headless=new", "--disable-gpu", "--disable-dev-shm-usage", &profile];
        args.extend(["--window-size=1360,860", "--hide-scrollbars"]);
        if is_root() {
            args.push("--no-sandbox");
        }
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "args": args },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let begun = browser.call("POST", "/session", &wanted);
        let Some(session) = begun["sessionId"].as_str() else {
            skip(&format!("chromedriver starts no browser: {}", begun["message"]));
            return None;
        };
        browser.session = format!("/session/{session}");
        Some(browser)
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let head = format!("Host: 127.0.0.1:{}\r\nContent-Type: application/json\r\n", self.port);
        http(self.port, method, path, &head, body.as_bytes()).json()["value"].clone()
    }

    fn command(&self, method: &str, path: &str, body: &Value) -> Value {
        let value = self.call(method, &format!("{}/{path}", self.session), body);
        assert!(value.get("error").is_none(), "{path}: {value}");
        value
    }

    fn open(&self, address: &str) {
        self.command("POST", "url", &json!({ "url": address }));
    }

    fn run(&self, script: &str) -> Value {
        self.command("POST", "execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Presses keys, one after the other.
    fn press(&self, keys: &str) {
        let mut actions = Vec::new();
        for key in keys.chars().map(String::from) {
            actions.push(json!({ "type": "keyDown", "value": key }));
            actions.push(json!({ "type": "keyUp", "value": key }));
        }
        let keys = json!({ "actions": [{ "type": "key", "id": "keys", "actions": actions }] });
        self.command("POST", "actions", &keys);
    }

    /// Waits until an expression holds.
    fn until(&self, what: &str) {
        let until = Instant::now() + Duration::from_secs(60);
        while self.run(&format!("return Boolean({what})")) != json!(true) {
            let text = "return document.body.innerText";
            assert!(Instant::now() < until, "{what} does not come:\n{}", self.run(text));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn text(&self, id: &str) -> String {
        let text = self.run(&format!("return document.getElementById('{id}').innerText"));
        text.as_str().expect("text").to_owned()
    }

    /// Moves down from the first row to a path.
    fn go_to(&self, path: &str) {
        self.press("\u{e011}");
        let title = "document.querySelector('[aria-selected=true]').title";
        for _ in 0..100 {
            if self.run(&format!("return {title}")) == json!(path) {
                return;
            }
            self.press("j");
        }
        panic!("{path} is not in the list");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It takes the browser with it, which a signal would not. Whatever it answers.
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) {
            let text = "GET /shutdown HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
            let _ = stream.set_read_timeout(Some(Duration::from_secs(20)));
            let _ = stream.write_all(text.as_bytes());
            let _ = stream.read(&mut [0; 64]);
        }
        let until = Instant::now() + Duration::from_secs(10);
        while Instant::now() < until && matches!(self.driver.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// A picture: a disc on a gradient.
fn picture(path: &Path, size: u32, color: [u8; 3]) {
    let mut rows = Vec::new();
    for y in 0..size {
        rows.push(0);
        for x in 0..size {
            let (dx, dy) = (i64::from(x * 2) - i64::from(size), i64::from(y * 2) - i64::from(size));
            let inside = dx * dx + dy * dy < i64::from(size * size) / 2;
            let shade = (y * 160 / size) as u8;
            rows.extend(if inside { color } else { [255 - shade, 255 - shade / 2, 250] });
        }
    }
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    zlib.write_all(&rows).expect("zlib");
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut header = [size.to_be_bytes(), size.to_be_bytes()].concat();
    header.extend([8, 2, 0, 0, 0]);
    for (name, data) in
        [(b"IHDR", header), (b"IDAT", zlib.finish().expect("zlib")), (b"IEND", Vec::new())]
    {
        let mut crc = flate2::Crc::new();
        crc.update(name);
        crc.update(&data);
        file.extend((data.len() as u32).to_be_bytes());
        file.extend(name);
        file.extend(data);
        file.extend(crc.sum().to_be_bytes());
    }
    fs::write(path, file).expect("write");
}

const MADE: &str = r#"mkdir -p src docs img lib/old
cat > src/server.c <<'END'
#include "server.h"

int listen_on(int port)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	if (fd < 0)
		return -1;
	struct sockaddr_in addr = { .sin_port = htons(port) };
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)))
		return -1;
	return fd;
}
END
seq 1 40 > docs/list; echo 'a first text' > docs/intro.md; echo gone > lib/gone.c
echo x > lib/old/x; echo '#!/bin/sh' > run.sh"#;

const CHANGED: &str = r#"sed -i 's/socket(AF_INET, SOCK_STREAM, 0)/socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)/
s/^\tif (bind.*/\taddr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);\n\tif (bind(fd, (struct sockaddr *)\&addr, sizeof(addr))) {\n\t\tclose(fd);/
s/^\treturn fd;/\t}\n\treturn fd;/' src/server.c
rm lib/gone.c; mv lib/old lib/new; chmod 755 run.sh
mkdir build; echo o > build/a.o; head -c 3000000 /dev/zero > build/app
echo '<script>document.title = "broken"</script><b>bold</b>' > '<img src=x onerror=alert(1)>'"#;

fn scene() -> Option<Scene> {
    let scene = engine_is_product().then(|| {
        Scene::new(|base| {
            sh(base, MADE);
            picture(&base.join("img/logo.png"), 160, [200, 60, 50]);
        })
    })??;
    sh(&scene.mnt, CHANGED);
    picture(&scene.mnt.join("img/logo.png"), 200, [40, 110, 200]);
    Some(scene)
}

#[test]
fn changes_are_looked_at_and_discarded_by_keys() {
    let Some(s) = scene() else { return };
    let home = s.work.dir("browser");
    let Some(browser) = Browser::start(&home) else { return };
    let mut served = Served::start(&[&s.mnt]);
    browser.open(&served.address);
    browser.until("location.pathname.length > 60 && document.querySelector('[role=treeitem]')");
    browser.until("$('status').textContent === '9 changes'");
    assert!(!browser.run("return location.href").to_string().contains("token"));

    // Names and texts are nothing but text.
    let odd = "<img src=x onerror=alert(1)>";
    browser.go_to(odd);
    browser.press(ENTER);
    browser.until("document.querySelector('#view .come')");
    assert!(browser.text("view").contains("<script>document.title = \"broken\"</script>"));
    let elements =
        browser.run("return document.querySelectorAll('#view img, #view b, #space img').length");
    assert_eq!(
        (elements, browser.run("return document.title.startsWith('Review')")),
        (json!(0), json!(true))
    );

    // Filters: by text, by size, by kind.
    browser.press("/logo");
    browser.until("$('status').textContent === '1 of 9 changes'");
    browser.press(ESCAPE);
    browser.go_to("img/logo.png");
    browser.press(ENTER);
    browser.until(
        "[...document.querySelectorAll('#view img')].filter((i) => i.naturalWidth).length === 2",
    );
    let widths = browser
        .run("return [...document.querySelectorAll('#view img')].map((i) => i.naturalWidth)");
    assert_eq!(widths, json!([160, 200]));
    browser
        .run("$('search').value = ''; $('size').value = '1048576'; $('size').dispatchEvent(new Event('change'))");
    browser.until("$('status').textContent === '1 of 9 changes'");
    assert!(browser.text("space").contains("app"));
    browser.run("$('size').value = '0'; $('size').dispatchEvent(new Event('change'))");
    browser.run("document.querySelector('[data-kind=added]').click()");
    browser.until("$('status').textContent === '5 of 9 changes'");
    assert!(!browser.text("space").contains("build"));
    browser.run("document.querySelector('[data-kind=added]').click(); $('list').focus()");

    // A directory takes what is in it along, one entry of it stays.
    browser.go_to("build");
    browser.press("d");
    browser.until("$('status').textContent.includes('3 to discard')");
    browser.go_to("build/app");
    browser.press("K");
    browser.until("$('status').textContent.includes('1 to discard · 1 to keep')");
    browser.go_to("lib/gone.c");
    browser.press("d");
    browser.go_to("src/server.c");
    browser.press(ENTER);
    browser.until("document.querySelectorAll('#view .hunk').length > 3");
    assert!(browser.text("view").contains("SOCK_CLOEXEC"));
    screenshot(&browser);

    // Nothing goes without the answer.
    browser.press("a");
    browser.until("$('confirm').open");
    assert_eq!(browser.text("confirm-title"), "Discard 2 changes?");
    assert!(browser.text("confirm-text").contains("The content of 1 entry is lost"));
    browser.press(ESCAPE);
    browser.until("!$('confirm').open");
    assert!(s.at("build/a.o").exists() && !s.at("lib/gone.c").exists());
    browser.press("a");
    browser.until("$('confirm').open");
    browser.press(ENTER);
    browser.until("$('status').textContent.startsWith('2 changes done · 7 changes')");
    assert_eq!(sh(&s.mnt, "cat lib/gone.c; ls build; cat lib/new/x"), "gone\napp\nx\n");
    assert!(browser.text("status").contains("1 to keep"), "marks stay with what is the same");

    browser.press("?");
    browser.until("$('keys').open");
    browser.press(ESCAPE);
    let said = browser.command("POST", "se/log", &json!({ "type": "browser" }));
    let bad: Vec<&Value> = said
        .as_array()
        .expect("a log")
        .iter()
        .filter(|line| !line["message"].to_string().contains("favicon"))
        .collect();
    assert!(bad.is_empty(), "{bad:?}");
    browser.run("document.getElementById('end').click()");
    assert_eq!(served.ends(), Some(0));
    browser.until("document.body.innerText.includes('has ended')");
}

#[test]
fn changes_are_committed_by_keys() {
    let Some(mut s) = scene() else { return };
    let home = s.work.dir("browser");
    let Some(browser) = Browser::start(&home) else { return };
    s.umount();
    let mut served = Served::start(&[&s.storage]);
    browser.open(&served.address);
    browser.until("$('status').textContent === '9 changes'");
    browser.go_to("build");
    browser.press("c");
    browser.until("$('status').textContent.includes('3 to commit')");
    browser.go_to("build/app");
    browser.press("K");
    browser.go_to("lib/gone.c");
    browser.press("d");
    browser.until("$('status').textContent.includes('1 to discard · 1 to commit · 1 to keep')");
    // One question for each, the discard first.
    browser.press("a");
    browser.until("$('confirm').open && $('confirm-title').innerText === 'Discard 1 change?'");
    browser.press(ENTER);
    browser.until("$('confirm').open && $('confirm-title').innerText === 'Commit 2 changes?'");
    assert!(browser.text("confirm-text").contains(s.base.to_str().expect("UTF-8")));
    browser.press(ENTER);
    browser.until("$('status').textContent.startsWith('2 changes done · 6 changes')");
    assert_eq!(sh(&s.base, "cat build/a.o lib/gone.c; ls build"), "o\ngone\na.o\n");
    // What the base has otherwise by now is told.
    sh(&s.base, "echo theirs >> src/server.c");
    browser.press("r");
    browser.until("$('status').textContent.startsWith('6 changes')");
    browser.go_to("src/server.c");
    browser.press("c");
    browser.press("a");
    browser.until("$('told').open");
    assert!(browser.text("told-text").contains("src/server.c"));
    browser.press(ESCAPE);
    browser.run("document.getElementById('end').click()");
    assert_eq!(served.ends(), Some(0));
    s.retake_proof();
}

/// What the documentation shows.
fn screenshot(browser: &Browser) {
    let Some(path) = std::env::var_os("MINI_FO_SCREENSHOT") else { return };
    browser.run("document.getElementById('where').textContent = '/mnt/project'");
    let text = browser.command("GET", "screenshot", &Value::Null);
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0u32, 0);
    for digit in text.as_str().expect("a picture").bytes() {
        let Some(value) = digits.iter().position(|d| *d == digit) else { continue };
        (bits, count) = (bits << 6 | value as u32, count + 6);
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    assert!(bytes.len() < 200_000, "{} bytes", bytes.len());
    File::create(path).and_then(|mut file| file.write_all(&bytes)).expect("write");
}
