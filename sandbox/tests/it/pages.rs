//! What the pages say: what was typed is kept, what is wrong stands beside its field, money has its
//! currency. Whether people can use them is looked at in a browser (`tests/outside/pages`).

use crate::client::{World, world};

const HTML: &[(&str, &str)] = &[("accept", "text/html,*/*;q=0.8")];

async fn session(w: &World, more: &str) -> String {
    let form = format!(
        "mode=payment&success_url=http://shop/&line_items[0][price]={}&line_items[0][quantity]=1{more}",
        w.price("credits-10")
    );
    let made = w.post("/v1/checkout/sessions", &form).await;
    format!("/pay/{}", made["id"].as_str().unwrap())
}

async fn html(w: &World, method: &str, path: &str, form: &str) -> (u16, String) {
    let answer = w.send(method, path, HTML, form).await.unwrap();
    let text = String::from_utf8_lossy(&answer.bytes).into_owned();
    assert!(!text.contains("<script"), "{text}");
    (answer.status, text)
}

#[tokio::test]
async fn a_decline_keeps_what_was_typed_and_chosen_and_stands_beside_the_cards() {
    let w = world().await;
    let path = session(&w, "").await;
    let (status, page) = html(&w, "POST", &path, "email=ada@example.com&card=9995").await;
    assert_eq!(status, 402);
    assert!(page.contains("<title>Error: Checkout"), "{page}");
    assert!(page.contains("value=\"ada@example.com\""), "{page}");
    assert!(page.contains("value=\"9995\" checked autofocus"), "{page}");
    let (_, cards) = page
        .split_once("<fieldset aria-describedby=\"card-error\">")
        .unwrap();
    let said = "id=\"card-error\" role=\"alert\">Your card has insufficient funds.";
    assert!(cards.contains(said), "{page}");
}

#[tokio::test]
async fn an_address_that_is_none_is_said_beside_its_field_and_nothing_is_charged() {
    let w = world().await;
    let path = session(&w, "").await;
    for wrong in ["ada", "ada%40", "%40example.com"] {
        let form = format!("email={wrong}&card=4242");
        let (status, page) = html(&w, "POST", &path, &form).await;
        assert_eq!(status, 400, "{wrong}");
        let marks = "aria-invalid=\"true\" aria-describedby=\"email-error\"";
        assert!(page.contains(marks), "{page}");
        assert!(page.contains("id=\"email-error\""), "{page}");
    }
    let charges = w.get("/v1/charges").await;
    assert_eq!(charges["data"].as_array().map(Vec::len), Some(0));
}

#[tokio::test]
async fn what_the_bank_refused_is_said_on_the_page_one_comes_back_to() {
    let w = world().await;
    let path = session(&w, "").await;
    let sent = w.send("POST", &path, &[], "email=ada@example.com&card=3184");
    let bank = sent.await.unwrap().header("location").to_owned();
    let (_, asked) = html(&w, "GET", &bank, "").await;
    assert!(asked.contains("10.00 USD"), "{asked}");
    w.send("POST", &bank, &[], "answer=refuse").await.unwrap();
    let (status, page) = html(&w, "GET", &path, "").await;
    assert_eq!(status, 200);
    assert!(page.contains("unable to authenticate"), "{page}");
    assert!(page.contains("value=\"ada@example.com\""), "{page}");
}

#[tokio::test]
async fn a_trial_and_a_discount_say_what_is_paid_today() {
    let w = world().await;
    let trial = format!(
        "mode=subscription&success_url=http://s/&line_items[0][price]={}&line_items[0][quantity]=1&subscription_data[trial_period_days]=14",
        w.price("pro")
    );
    let made = w.post("/v1/checkout/sessions", &trial).await;
    let path = format!("/pay/{}", made["id"].as_str().unwrap());
    let (_, page) = html(&w, "GET", &path, "").await;
    assert!(page.contains("<h1>Start the free trial</h1>"), "{page}");
    let today = "To pay today</th><td class=\"amount\">0.00 USD";
    assert!(page.contains(today), "{page}");
    w.post("/v1/coupons", "percent_off=25&duration=once&id=QUARTER")
        .await;
    let path = session(&w, "&discounts[0][coupon]=QUARTER").await;
    let (_, page) = html(&w, "GET", &path, "").await;
    assert!(page.contains("<h1>Pay 7.50 USD</h1>"), "{page}");
    let off = "Discount</th><td class=\"amount\">−2.50 USD";
    assert!(page.contains(off), "{page}");
}

#[tokio::test]
async fn the_portal_says_what_it_did_and_a_refusal_stands_in_its_part() {
    let w = world().await;
    let (customer, sub) = w.subscriber("pro", "pm_card_visa").await;
    let form = format!("customer={customer}&return_url=http://shop/");
    let portal = w.post("/v1/billing_portal/sessions", &form).await;
    let path = format!("/portal/{}", portal["id"].as_str().unwrap());
    let form = format!("do=cancel&id={}", sub["id"].as_str().unwrap());
    let done = w.send("POST", &path, &[], &form).await.unwrap();
    let (_, page) = html(&w, "GET", done.header("location"), "").await;
    assert!(page.contains("role=\"status\">The subscription will end with"));
    assert!(page.contains(", ends on "), "{page}");

    let form = format!("do=resume&id={}", sub["id"].as_str().unwrap());
    w.send("POST", &path, &[], &form).await.unwrap();
    w.send("POST", &path, &[], "do=card&card=0341")
        .await
        .unwrap();
    w.control.advance(31 * 86_400 + 3_700).unwrap();
    let open = format!("/v1/invoices?customer={customer}&status=open");
    let open = w.get(&open).await;
    let bill = open["data"][0]["id"].as_str().unwrap();
    let (status, page) = html(&w, "POST", &path, &format!("do=pay&id={bill}")).await;
    assert_eq!(status, 400);
    let (_, bills) = page.split_once("<h2>Invoices</h2>").unwrap();
    assert!(
        bills.starts_with("<p class=\"error\" id=\"failed\""),
        "{page}"
    );
    w.send("POST", &path, &[], "do=card&card=4242")
        .await
        .unwrap();
    let form = format!("do=pay&id={bill}");
    let paid = w.send("POST", &path, &[], &form).await.unwrap();
    let (_, page) = html(&w, "GET", paid.header("location"), "").await;
    assert!(page.contains("The invoice was paid."), "{page}");
}

#[tokio::test]
async fn the_overview_moves_the_clock_by_days_and_refuses_what_is_none() {
    let w = world().await;
    let before = w.control.now_unix_ms();
    let moved = w.send("POST", "/clock", &[], "days=31").await.unwrap();
    assert_eq!(
        (moved.status, moved.header("location")),
        (303, "/?moved=31")
    );
    assert!(w.control.now_unix_ms() - before >= 31 * 86_400_000);
    let (_, page) = html(&w, "GET", "/?moved=31", "").await;
    assert!(page.contains("moved forward by 31 days"), "{page}");
    for wrong in ["0", "-3", "many", "", "9999", "9223372036854775807"] {
        let (status, page) = html(&w, "POST", "/clock", &format!("days={wrong}")).await;
        assert_eq!(status, 400, "{wrong}");
        assert!(page.contains("aria-describedby=\"days-error\""), "{page}");
    }
}

#[tokio::test]
async fn the_control_routes_are_listed_for_people_and_for_programs() {
    let w = world().await;
    let (status, page) = html(&w, "GET", "/control", "").await;
    assert_eq!(status, 200);
    assert!(page.contains("POST /control/clock/advance"), "{page}");
    let list = w.get("/control").await;
    let routes = list["routes"].as_array().unwrap();
    assert!(routes.iter().any(|r| r == "GET clock"), "{list}");
}
