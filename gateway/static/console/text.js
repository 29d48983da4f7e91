// Texts from addresses and from outside, made safe to use.

export function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // no such escape: it names nothing, and the page says so
  }
}

// A command that is copied into a terminal. A client chooses the request's id: one that a shell might read as more than a
// word is left out; the withdrawal's own finds the same lines.
export function logsCommand(withdrawalId, requestId) {
  const isWord = requestId && /^[A-Za-z0-9._:-]+$/.test(requestId);
  return `wbs logs | grep -e ${withdrawalId}${isWord ? ` -e ${requestId}` : ""}`;
}
