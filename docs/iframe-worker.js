// The search runs in a Worker, which browsers do not start for a page that was opened from disk (file://). There, this
// script lets it run in a hidden frame. Material's plugin `offline` would otherwise load a script of this name and
// purpose from another host.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      frame.answer = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      frame.srcdoc =
        "<script>window.postMessage = (data) => frameElement.answer(data);</script>" +
        `<script src="${url}"></script>`;
      this.started = new Promise((resolve) => {
        frame.addEventListener("load", () => resolve(frame.contentWindow));
      });
      document.body.append(frame);
    }

    async postMessage(data) {
      const worker = await this.started;
      worker.dispatchEvent(new worker.MessageEvent("message", { data }));
    }
  };
}
