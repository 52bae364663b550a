"use strict";
// saml-idp, the package that the site starts by npx, as a service: pages of the site's own, and
// nothing to be reached but what a sign-in needs. Arguments are the package's own (--help).

const http = require("node:http");
const crypto = require("node:crypto");
const path = require("node:path");
const express = require("express");
const { guard, seal } = require("./requests");

// The package's other pages change its settings, for whoever asks.
const REACHABLE = new Set([
  "GET /metadata",
  "HEAD /metadata",
  "GET /saml/sso",
  "HEAD /saml/sso",
  "POST /saml/sso",
  "POST /signin",
]);

// At each sign-in it prints the beginning of its key and the whole assertion: not into a log.
// Who asked for what is printed all the same, by its request logger.
console.log = () => {};

// Its sessions, one in memory for each stranger who looks in, serve nothing: each sign-in stands for
// itself. What it takes for them is where requests are looked over, once their form is read.
const packaged = require.resolve("express-session", { paths: [require.resolve("saml-idp")] });
require.cache[packaged] = Object.assign(new module.constructor(packaged), {
  exports: () => guard,
  loaded: true,
});

// It has no setting for its pages.
const { set } = express.application;
express.application.set = function (name, ...value) {
  return set.call(this, name, ...(name === "views" && value.length ? [path.join(__dirname, "views")] : value));
};

// All its pages pass here, also that which says with status 200 what did not work.
const { render } = express.response;
express.response.render = function (view, said) {
  const shown = { ...said, nonce: this.locals.nonce };
  if (view === "error" && this.statusCode < 400) this.status(400);
  if (view === "user" && said.authnRequest) shown.ticket = seal(this.req, said.authnRequest, said.idp);
  return render.call(this, view, shown);
};

// Nothing is loaded from anywhere, and forms lead nowhere but to the site itself.
function headers(nonce) {
  const policy = {
    "default-src": "'none'",
    "img-src": "data:",
    "style-src": `'nonce-${nonce}'`,
    "script-src": `'nonce-${nonce}'`,
    "form-action": "'self'",
    "frame-ancestors": "'none'",
    "base-uri": "'none'",
  };
  return {
    "Cache-Control": "no-store",
    "Content-Security-Policy": Object.entries(policy).map((rule) => rule.join(" ")).join("; "),
    "X-Content-Type-Options": "nosniff",
  };
}

function nothing(app, response, nonce) {
  app.render("error", { message: "There is no such page here.", nonce }, (fault, page) => {
    response.writeHead(404, { "Content-Type": "text/html; charset=utf-8" }).end(fault ? "" : page);
  });
}

const { createServer } = http;
http.createServer = (app) => {
  app.disable("x-powered-by");
  return createServer((request, response) => {
    const nonce = crypto.randomBytes(16).toString("base64url");
    for (const header of Object.entries(headers(nonce))) response.setHeader(...header);
    if (REACHABLE.has(`${request.method} ${request.url.split("?")[0]}`)) {
      response.locals = { nonce };
      app(request, response);
    } else {
      nothing(app, response, nonce);
    }
  });
};

process.argv.push("--configFile", path.join(__dirname, "identities.js"));
require("saml-idp").main();
