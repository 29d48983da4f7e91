"use strict";
// The page that the console answers with until an API key opens it. The key stays in this tab.

const said = document.getElementById("said");

async function open(secret) {
  const reply = await fetch("console", { headers: { authorization: `Bearer ${secret}` } });
  if (!reply.ok) {
    sessionStorage.removeItem("wbs-key");
    const problem = reply.headers.get("content-type").includes("json") ? await reply.json() : {};
    said.textContent = problem.detail || "This key does not open the console.";
    said.className = "refused";
    return;
  }
  sessionStorage.setItem("wbs-key", secret);
  const page = await reply.text();
  document.open();
  document.write(page);
  document.close();
}

document.getElementById("login").addEventListener("submit", (event) => {
  event.preventDefault();
  open(event.target.elements.secret.value.trim());
});

const kept = sessionStorage.getItem("wbs-key");
if (kept) open(kept);
