"use strict";
// saml-idp, the package that the site starts by npx, as a service: pages of the site's own, and
// nothing to be reached but what a sign-in needs. Arguments are the package's own (--help).

const http = require("node:http");
const path = require("node:path");
const express = require("express");

// The package's other pages change its settings, for whoever asks.
const REACHABLE = new Set(["GET /metadata", "GET /saml/sso", "POST /saml/sso", "POST /signin"]);

// At each sign-in it prints the beginning of its key and the whole assertion: not into a log.
// Who asked for what is printed all the same, by its request logger.
console.log = () => {};

// It has no setting for its pages.
const { set } = express.application;
express.application.set = function (name, ...value) {
  return set.call(this, name, ...(name === "views" && value.length ? [path.join(__dirname, "views")] : value));
};

const { createServer } = http;
http.createServer = (app) =>
  createServer((request, response) => {
    if (REACHABLE.has(`${request.method} ${request.url.split("?")[0]}`)) {
      app(request, response);
    } else {
      response.writeHead(404, { "Content-Type": "text/plain" }).end("There is nothing here.\n");
    }
  });

process.argv.push("--configFile", path.join(__dirname, "identities.js"));
require("saml-idp").main();
