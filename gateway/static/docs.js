// Swagger UI on our own document. validatorUrl null: otherwise the page would send the document to a server
// of the Swagger project.
window.ui = SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayRequestDuration: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  tryItOutEnabled: true,
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
  responseInterceptor: followLinks,
});

// Each operation of the document as [path, method, description]; none while the document itself is on its way.
function operations() {
  const paths = Object.entries(window.ui?.specSelectors.specJson().toJS().paths ?? {});
  return paths.flatMap(([path, item]) => Object.entries(item).map(([method, told]) => [path, method, told]));
}

// Fill identifiers that a response gives into the operations that its links name: what was just made can be asked for
// or cancelled without copying its id.
function followLinks(response) {
  for (const link of linksOf(response)) {
    const [path, method, told] = operations().find((one) => one[2].operationId === link.operationId);
    for (const [name, expression] of Object.entries(link.parameters)) {
      const place = told.parameters.find((parameter) => parameter.name === name).in;
      const value = response.body[expression.replace("$response.body#/", "")];
      if (value !== undefined) window.ui.specActions.changeParam([path, method], name, place, value, false);
    }
  }
  return response;
}

// The links of a response. Those that go on with an id stand at requests without one in their path.
function linksOf(response) {
  const path = new URL(response.url, location.href).pathname;
  const told = operations().find((one) => one[0] === path && one[2].responses[response.status]?.links);
  return told ? Object.values(told[2].responses[response.status].links) : [];
}
