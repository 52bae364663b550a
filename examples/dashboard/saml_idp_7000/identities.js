"use strict";
// Who can sign in, in the shape that saml-idp's --configFile has: one `user`, and its `metadata`.
//
// The package keeps one user for all its visitors, whom every sign-in overwrites with whatever was
// posted. Here each request has a choice of its own, made among the accounts of users.json alone.

const { AsyncLocalStorage } = require("node:async_hooks");
const accounts = require("./users.json");

const visits = new AsyncLocalStorage();

const listed = (value) => (Array.isArray(value) ? value.join(",") : value);

function choose(name) {
  const account = accounts.find(({ userName }) => userName === name);
  if (!account) throw Object.assign(new Error("There is no such account."), { status: 400 });
  visits.getStore().account = account;
}

const user = new Proxy(
  { accounts },
  {
    get: (own, key) => (key in own ? own[key] : listed(visits.getStore()?.account?.[key])),
    set: (_own, key, value) => {
      if (key === "userName") choose(value);
      return true;
    },
  },
);

const attribute = (id, displayName, multiValue = false) => ({ id, displayName, multiValue, optional: false });

module.exports = {
  user,
  metadata: [attribute("displayName", "Name"), attribute("email", "E-mail"), attribute("groups", "Groups", true)],
  /** Call `answer` with a choice of its own. */
  visit: (answer) => visits.run({}, answer),
};
