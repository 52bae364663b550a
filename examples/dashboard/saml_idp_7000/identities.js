"use strict";
// Who can sign in, in the shape that saml-idp's --configFile has: one `user`, and its `metadata`.
//
// The package keeps one user for all its visitors, whom every sign-in overwrites with whatever was
// posted. Here a sign-in chooses among the accounts of users.json, and the choice holds for as long
// as the package takes to sign it, which is one turn of the event loop.

const accounts = require("./users.json");

let chosen = null;

function choose(name) {
  chosen = accounts.find(({ userName }) => userName === name);
  process.nextTick(() => (chosen = null));
  if (!chosen) throw Object.assign(new Error("There is no such account."), { status: 400 });
}

const listed = (value) => (Array.isArray(value) ? value.join(",") : value);

const user = new Proxy(
  { accounts },
  {
    get: (own, key) => (key in own ? own[key] : listed(chosen?.[key])),
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
};
