"use strict";
// Which requests are answered: the portal's own, and a choice of account that follows one of them.
//
// What a request asks is sealed into the page that it brings up, and comes back with the choice. So
// nobody makes one up, and nothing has to be kept in between. Answers go to one address: that of the
// portal on the very site that the browser speaks to, whatever else a request may name.

const crypto = require("node:crypto");
const zlib = require("node:zlib");

const KEY = crypto.randomBytes(32);
/** Milliseconds that somebody may take to choose. */
const PATIENCE = 10 * 60 * 1000;
/** Bytes of a request; the portal's are far below. */
const LARGEST = 64 * 1024;
const ID = /^[A-Za-z_][\w.-]{0,127}$/;

const refusal = (message) => Object.assign(new Error(message), { status: 400 });
const own = (values, key) => (typeof values?.[key] === "string" ? values[key] : undefined);

/** Let through what can be meant, in the form in which the package takes it apart. */
function guard(request, response, next) {
  try {
    // The package names each answer after its visitor's session.
    request.session = { id: crypto.randomUUID() };
    if (request.path === "/signin") opened(request);
    else if (request.path === "/saml/sso") unpacked(request);
    next();
  } catch (fault) {
    next(fault);
  }
}

/** Put the XML of a request where its compressed form was: how large it gets is known here. */
function unpacked(request) {
  const said = request.method === "POST" ? request.body : request.query;
  const asked = own(said, "SAMLRequest");
  const RelayState = own(said, "RelayState");
  request.body = {};
  request.query = asked ? { SAMLRequest: inflated(asked).toString("base64"), RelayState } : {};
}

function inflated(text) {
  const given = Buffer.from(text, "base64");
  let xml = given;
  try {
    if (given[0] !== 0x3c) xml = zlib.inflateRawSync(given, { maxOutputLength: LARGEST });
  } catch {
    throw refusal("This is no request.");
  }
  if (xml[0] !== 0x3c || xml.length > LARGEST || xml.includes("<!")) throw refusal("This is no request.");
  return xml;
}

/** Seal what the portal asked, and refuse what somebody else did. */
function seal(request, { id, issuer, acsUrl, relayState }, { audience, acsUrl: configured }) {
  const here = answered(request, configured);
  if (issuer !== audience || !ID.test(id ?? "")) throw refusal("This request is not the portal's.");
  if (acsUrl && address(acsUrl) !== here) throw refusal("This request wants its answer sent elsewhere.");
  const asked = { id, issuer, relayState, acsUrl: here, end: Date.now() + PATIENCE };
  const text = Buffer.from(JSON.stringify(asked)).toString("base64url");
  return `${text}.${digest(text)}`;
}

/** Give back what was sealed, and of the rest of the form the account alone. */
function opened(request) {
  const [text, said, ...more] = (own(request.body, "_authnRequest") ?? "").split(".");
  const right = Buffer.from(digest(text));
  const given = Buffer.from(said ?? "");
  const fits = given.length === right.length && crypto.timingSafeEqual(given, right);
  if (!fits || more.length) throw refusal("This sign-in was not begun here.");
  const { end, ...asked } = JSON.parse(Buffer.from(text, "base64url"));
  if (Date.now() > end) throw refusal("This sign-in took too long.");
  if (!own(request.body, "userName")) throw refusal("No account was chosen.");
  const _authnRequest = Buffer.from(JSON.stringify(asked)).toString("base64");
  request.query = {};
  request.body = { _authnRequest, userName: request.body.userName };
}

const digest = (text) => crypto.createHmac("sha256", KEY).update(text).digest("base64url");

/** Say where the portal takes answers, on the site that this request came to. */
function answered(request, configured) {
  const scheme = request.headers["x-forwarded-proto"] === "https" ? "https" : "http";
  const here = address(`${scheme}://${request.headers.host}${new URL(configured).pathname}`);
  if (!here) throw refusal("This site has no such name.");
  return here;
}

/** Spell an address as browsers do; nothing where it is none of the web's. */
function address(text) {
  if (!URL.canParse(text)) return null;
  const { protocol, username, password, href } = new URL(text);
  return /^https?:$/.test(protocol) && !username && !password ? href : null;
}

module.exports = { guard, seal };
