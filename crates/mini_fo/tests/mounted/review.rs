//! `mini_fo review`: who is answered, what is shown, and that nothing goes but what was
//! confirmed.

use std::ffi::OsStr;
use std::fs;
use std::net::TcpStream;
use std::os::unix::ffi::OsStrExt;

use serde_json::{Value, json};

use crate::common::{Scene, WorkDir, engine_is_product, mini_fo, sh, standard_base};
use crate::review_client::{Page, Served, http};

fn scene(script: &str) -> Option<Scene> {
    let scene = engine_is_product().then(|| Scene::new(standard_base))??;
    sh(&scene.mnt, script);
    Some(scene)
}

#[test]
fn only_who_has_the_address_is_answered() {
    let Some(s) = scene("echo more >> f") else { return };
    let served = Served::start(&[&s.mnt]);
    let open = |path: &str, head: &str| http(served.port, "GET", path, head, b"").status;
    let (host, path) =
        (format!("Host: 127.0.0.1:{}\r\n", served.port), format!("/?token={}", served.token));
    assert_eq!(served.token.len(), 64);
    for (why, path, head) in [
        ("no token", "/", &*host),
        ("another token", "/?token=00", &host),
        ("no host", &path, ""),
        ("a host of others", &path, "Host: evil.example\r\n"),
        ("a port of others", &path, "Host: 127.0.0.1:1\r\n"),
        ("no session", "/api/changes", &host),
    ] {
        assert_eq!(open(path, head), 403, "{why}");
    }
    let page = served.page();
    assert_eq!(open(&path, &host), 403, "a token that was used");
    assert_eq!(page.get("api/changes").status, 200);
    let bare = format!("{}api/changes", page.path);
    assert_eq!(open(&bare, &host), 403, "no cookie");
    let cookie = format!("Cookie: {}\r\n", page.cookie);
    assert_eq!(open(&bare, &format!("Host: evil.example\r\n{cookie}")), 403, "rebound");
    let site = format!("{host}{cookie}Sec-Fetch-Site: same-site\r\n");
    assert_eq!(open(&bare, &site), 403, "asked by a page on another port");
    let end = format!("{}api/end", page.path);
    for (why, head) in [
        ("no origin", "Content-Type: application/json\r\n".to_owned()),
        ("another origin", "Content-Type: application/json\r\nOrigin: http://e.x\r\n".to_owned()),
        ("a form", format!("Origin: http://127.0.0.1:{}\r\n", served.port)),
    ] {
        assert_eq!(
            served.ask("POST", &end, &format!("{cookie}{head}"), b"{}").status,
            403,
            "{why}"
        );
    }
    assert!(TcpStream::connect(("127.0.0.2", served.port)).is_err(), "loopback's first alone");
}

#[test]
fn requests_have_bounds() {
    let Some(s) = scene("echo more >> f") else { return };
    let served = Served::start(&[&s.mnt]);
    let page = served.page();
    let long = format!("Cookie: {}\r\n", "x".repeat(20_000));
    assert_eq!(served.ask("GET", "/", &long, b"").status, 431);
    assert_eq!(served.ask("PUT", "/", "", b"").status, 400);
    assert_eq!(served.ask("GET", "nonsense", "", b"").status, 400);
    let large = format!("Host: x\r\nContent-Length: {}\r\n", 9 << 20);
    assert_eq!(http(served.port, "POST", "/", &large, b"").status, 400, "two lengths");
    assert_eq!(served.ask("POST", "/", "", &vec![b' '; 9 << 20]).status, 413);
    for path in ["../../etc/passwd", "api/../page.html", "f", "api/end", "api/plan"] {
        assert_eq!(page.get(path).status, 404, "{path}");
    }
    for path in ["api/change?turn=1&id=1", "api/change?turn=1&id=-1", "api/picture?turn=1"] {
        assert_eq!(page.get(path).status, 404, "{path}");
    }
    assert_eq!(page.get("api/change?turn=2&id=0").status, 409);
    for order in [json!({}), json!([]), json!({"turn": 1, "action": "format", "ids": [0]})] {
        assert_eq!(page.post("api/plan", &order).status, 400);
    }
    let none = json!({"turn": 1, "action": "discard", "ids": [7], "keep": []});
    assert_eq!(page.post("api/plan", &none).status, 400);
    // Who says nothing keeps nobody from being answered.
    let silent: Vec<TcpStream> =
        (0..8).map(|_| TcpStream::connect(("127.0.0.1", served.port)).expect("connect")).collect();
    assert_eq!(page.get("api/changes").status, 200);
    drop(silent);
}

/// The same live and at rest.
fn both(s: &mut Scene, check: impl Fn(&Page)) {
    let served = Served::start(&[&s.mnt]);
    check(&served.page());
    drop(served);
    s.umount();
    let served = Served::start(&[&s.storage]);
    check(&served.page());
}

#[test]
fn both_sides_are_shown() {
    let Some(mut s) = scene(
        "printf '<img src=x onerror=alert(1)>\\n' >> f; rm g; ln -sfn 'a<b>' link
         printf 'x' > $'bad\\xffname'; printf '<svg onload=alert(1)>' > fake.png
         printf '\\x89PNG\\r\\n\\x1a\\n rest' > real.txt; printf 'a\\0b' > data
         truncate -s 9M large; printf 'a\\xe2\\x80\\xaeb\\r\\n' > turned; chmod 600 script",
    ) else {
        return;
    };
    both(&mut s, |page| {
        let reply = page.get("");
        let policy = reply.header("content-security-policy").expect("a policy").to_owned();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        let nonce = policy.split_once("'nonce-").expect("a nonce").1.split('\'').next();
        let text = String::from_utf8(reply.body.clone()).expect("text");
        assert!(text.contains(&format!("<script nonce=\"{}\">", nonce.expect("a nonce"))));
        assert!(!text.contains("http://") && !text.contains("https://"), "nothing from elsewhere");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));

        let f = page.change("f");
        let last = f["view"]["rows"].as_array().expect("rows").last().expect("a row").to_string();
        assert!(last.contains("<img src=x onerror=alert(1)>"), "{f}");
        assert_eq!((&f["view"]["added"], &f["kind"]), (&json!(1), &json!("modified")));
        assert_eq!(page.change("g")["view"]["as"], "text");
        assert_eq!(page.change("link")["view"]["after"], "a<b>");
        assert_eq!(page.change("script")["after"]["mode"], "0600");
        assert_eq!(page.change("data")["view"]["as"], "binary");
        assert_eq!(page.change("large")["view"]["as"], "large");
        assert_eq!(page.change("turned")["view"]["rows"][0][4], "a\\u{202e}b\\u{d}");
        assert_eq!(page.change("bad\\xffname")["view"]["rows"][0][3], 1);

        let picture = |path| page.get(&format!("api/picture?turn=1&id={}", page.id(1, path)));
        assert_eq!(picture("fake.png").status, 404);
        assert_eq!(page.change("fake.png")["view"]["as"], "text");
        let real = picture("real.txt");
        assert_eq!((real.status, real.header("content-type")), (200, Some("image/png")));
        let policy = real.header("content-security-policy").expect("a policy");
        assert!(policy.contains("sandbox") && real.body.ends_with(b" rest"), "{policy}");
    });
}

fn order(page: &Page, turn: u64, paths: &[&str], keep: &[&str]) -> Value {
    let ids = |paths: &[&str]| paths.iter().map(|p| page.id(turn, p)).collect::<Vec<_>>();
    json!({ "turn": turn, "action": "discard", "ids": ids(paths), "keep": ids(keep) })
}

fn with_plan(mut order: Value, plan: &Value) -> Value {
    order["plan"] = plan["plan"].clone();
    order
}

#[test]
fn what_was_confirmed_goes_and_nothing_else() {
    let Some(mut s) = scene("echo more >> f; rm g; mkdir -p n/m; echo x > n/m/x; mv d moved")
    else {
        return;
    };
    let served = Served::start(&[&s.mnt]);
    let page = served.page();
    let first = order(&page, 1, &["f"], &["g"]);
    let plan = page.post("api/plan", &first).json();
    assert_eq!(
        (&plan["goes"], &plan["content"], &plan["also_count"]),
        (&json!(1), &json!(1), &json!(0))
    );
    assert_eq!(page.post("api/apply", &first).status, 409, "nothing was confirmed");

    // A program changes it after the look.
    sh(&s.mnt, "echo unseen >> f");
    let refused = page.post("api/apply", &with_plan(first.clone(), &plan));
    assert_eq!((refused.status, &refused.json()["stale"]), (409, &json!(true)));
    assert!(sh(&s.mnt, "cat f").ends_with("more\nunseen\n"));
    assert_eq!(page.post("api/read", &json!({})).json()["turn"], 2);

    // What hangs together is told, and what must stay is not touched.
    let rest = order(&page, 2, &["n"], &[]);
    let plan = page.post("api/plan", &rest).json();
    assert_eq!((&plan["goes"], &plan["also"]), (&json!(3), &json!(["n/m", "n/m/x"])));
    let kept = order(&page, 2, &["n"], &["n/m/x"]);
    let plan = page.post("api/plan", &kept).json();
    assert_eq!(plan["kept"], json!(["n/m/x"]));
    assert_eq!(page.post("api/apply", &with_plan(kept, &plan)).status, 409);
    assert_eq!(sh(&s.mnt, "cat n/m/x"), "x\n");

    let again = order(&page, 2, &["f", "g", "moved"], &["n", "n/m", "n/m/x"]);
    let plan = page.post("api/plan", &again).json();
    assert_eq!(plan["goes"], 3, "{plan}");
    let done = page.post("api/apply", &with_plan(again, &plan));
    let done = done.json();
    assert_eq!(
        (&done["done"], &done["failed"], &done["error"]),
        (&json!(3), &json!([]), &Value::Null)
    );
    assert_eq!((&done["about"]["turn"], &done["about"]["count"]), (&json!(3), &json!(3)));
    let (base, mnt) = (s.quiet_base(), s.mnt.clone());
    let look = "find . -path ./n -prune -o -type f -print | sort | xargs cat | md5sum";
    assert_eq!(sh(&mnt, look), sh(&base, look));
    drop(served);

    // The rest when it is not mounted.
    s.umount();
    let served = Served::start(&[&s.storage]);
    let page = served.page();
    let all = order(&page, 1, &["n", "n/m", "n/m/x"], &[]);
    let plan = page.post("api/plan", &all).json();
    assert_eq!(page.post("api/apply", &with_plan(all, &plan)).json()["done"], 3);
    mini_fo(&["status", s.storage.to_str().expect("UTF-8")]).ok();
    s.mount(&[]);
}

/// Into the base, of a storage that is not mounted: what is marked, with what must go along,
/// but neither what is to be kept nor what the base has otherwise by now.
#[test]
fn what_was_confirmed_is_committed() {
    let Some(mut s) =
        scene("echo more >> f; rm g; mkdir n; echo x > n/x; echo 1 > one; mv d moved")
    else {
        return;
    };
    s.umount();
    let served = Served::start(&[&s.storage]);
    let page = served.page();
    let about = page.get("api/changes").json();
    assert_eq!(about["actions"], json!(["discard", "commit"]));
    assert_eq!(about["base"], json!(s.base));
    let commit = |turn, paths: &[&str], keep: &[&str]| {
        let mut order = order(&page, turn, paths, keep);
        order["action"] = json!("commit");
        order
    };
    // The directory on the way goes along, and must not where it is to be kept.
    let held = commit(1, &["n/x"], &["n"]);
    let plan = page.post("api/plan", &held).json();
    assert_eq!((&plan["held"], &plan["goes"]), (&json!(["n/x"]), &json!(0)));
    assert_eq!(page.post("api/apply", &with_plan(held, &plan)).status, 409);
    let wanted = commit(1, &["f", "n/x", "moved"], &["g"]);
    let plan = page.post("api/plan", &wanted).json();
    assert_eq!((&plan["goes"], &plan["also"]), (&json!(4), &json!(["n"])));
    assert_eq!(plan["content"], 0, "nothing is lost");
    assert_eq!(page.post("api/apply", &wanted).status, 409, "nothing was confirmed");
    assert_eq!(sh(&s.base, "ls -d n moved 2>&1 | grep -c 'No such'"), "2\n");
    let done = page.post("api/apply", &with_plan(wanted, &plan)).json();
    assert_eq!((&done["done"], &done["error"]), (&json!(4), &Value::Null), "{done}");
    assert_eq!(done["about"]["count"], 2);
    assert_eq!(
        sh(&s.base, "tail -n1 f; cat n/x; ls -d g moved; ! ls -d d one 2> /dev/null || exit 1"),
        "more\nx\ng\nmoved\n"
    );
    // Somebody has put something else there since.
    sh(&s.base, "echo theirs > one");
    let late = commit(2, &["one"], &[]);
    let plan = page.post("api/plan", &late);
    let stale = plan.status == 409;
    assert!(stale || plan.json()["conflicts"][0]["path"] == "one", "{:?}", plan.status);
    page.post("api/read", &json!({}));
    let late = commit(3, &["one"], &["g"]);
    let plan = page.post("api/plan", &late).json();
    assert_eq!(plan["conflicts"][0]["path"], "one", "{plan}");
    assert_eq!(page.post("api/apply", &with_plan(late, &plan)).status, 409);
    assert_eq!(sh(&s.base, "cat one g | head -n1"), "theirs\n");
    drop(served);
    s.retake_proof();
}

/// The same of a live mount, where what is open stays.
#[test]
fn what_was_confirmed_is_committed_live() {
    let Some(mut s) = scene("echo more >> f; rm g; mkdir n; echo x > n/x; echo 1 > one") else {
        return;
    };
    let served = Served::start(&[&s.mnt]);
    let page = served.page();
    let about = page.get("api/changes").json();
    assert_eq!(about["actions"], json!(["discard", "commit"]));
    let commit = |turn, paths: &[&str], keep: &[&str]| {
        let mut order = order(&page, turn, paths, keep);
        order["action"] = json!("commit");
        order
    };
    let open = fs::File::options().append(true).open(s.at("one")).expect("open");
    let wanted = commit(1, &["f", "n/x", "one"], &["g"]);
    let plan = page.post("api/plan", &wanted).json();
    assert_eq!((&plan["goes"], &plan["also"]), (&json!(3), &json!(["n"])), "{plan}");
    assert_eq!(plan["in_use"], 1);
    // It is closed meanwhile: that is not what was confirmed.
    drop(open);
    let refused = page.post("api/apply", &with_plan(wanted, &plan));
    assert_eq!(refused.status, 409);
    assert_eq!(sh(&s.base, "ls -d n one 2>&1 | grep -c 'No such'"), "2\n");
    let held = commit(1, &["n/x"], &["n"]);
    let plan = page.post("api/plan", &held).json();
    assert_eq!((&plan["held"], &plan["goes"]), (&json!(["n/x"]), &json!(0)));
    let wanted = commit(1, &["f", "n/x", "one"], &["g"]);
    let plan = page.post("api/plan", &wanted).json();
    let done = page.post("api/apply", &with_plan(wanted, &plan)).json();
    assert_eq!((&done["done"], &done["error"]), (&json!(4), &Value::Null), "{done}");
    assert_eq!(done["about"]["count"], 1);
    let shows = "tail -n1 f; cat n/x one; ls -d n";
    assert_eq!(sh(&s.base, shows), "more\nx\n1\nn\n");
    assert_eq!(sh(&s.mnt, shows), "more\nx\n1\nn\n");
    assert!(s.base.join("g").exists() && !s.at("g").exists());
    drop(served);
    s.retake_proof();
}

#[test]
fn it_ends_when_it_is_to() {
    let Some(mut s) = scene("echo more >> f") else { return };
    let mut served = Served::start(&[&s.mnt]);
    // It keeps nothing open in the mount.
    s.umount();
    served.signal("INT");
    assert_eq!(served.ends(), Some(0));
    let mut served = Served::start(&[&s.storage]);
    served.signal("TERM");
    assert_eq!(served.ends(), Some(0));
    let mut served = Served::start(&[&s.storage]);
    assert_eq!(served.page().post("api/end", &json!({})).status, 200);
    assert_eq!(served.ends(), Some(0));
    let nothing = s.work.0.join("nothing");
    let nothing = nothing.to_str().expect("UTF-8");
    mini_fo(&["review", "--no-open", nothing]).fails(1, &[nothing, "No such file"]);
    mini_fo(&["review", "--idle", "x"]).fails(2, &["--idle"]);
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("bind");
    let port = taken.local_addr().expect("an address").port().to_string();
    let storage = s.storage.to_str().expect("UTF-8");
    mini_fo(&["review", "--no-open", "--port", &port, storage]).fails(1, &["127.0.0.1"]);
    s.mount(&[]);
}

#[test]
fn layers_are_shown_only_and_trees_may_be_large() {
    let work = WorkDir::new();
    let (base, upper) = (work.dir("base"), work.dir("upper"));
    sh(
        &upper,
        "for d in {1..12}; do mkdir $d; (cd $d; printf '%s\\n' {1..1000} | xargs touch); done",
    );
    let odd = upper.join(OsStr::from_bytes(b"\xfe"));
    fs::write(odd, "x").expect("write");
    let place = [OsStr::new("--base"), base.as_os_str(), OsStr::new("--dialect")];
    let served = Served::start(&[&place[..], &[OsStr::new("overlay"), upper.as_os_str()]].concat());
    let page = served.page();
    let about = page.get("api/changes").json();
    assert_eq!((&about["count"], &about["actions"]), (&json!(12_013), &json!([])));
    let rows = page.rows(1);
    assert_eq!((rows.len(), &rows[12_012][0]), (12_013, &json!("\\xfe")));
    assert!(page.get("api/list?turn=1").json().as_array().expect("rows").len() < 12_000);
    let order = json!({ "turn": 1, "action": "discard", "ids": [0], "keep": [] });
    assert_eq!(page.post("api/plan", &order).status, 400);
}
