// A frame with the explorer is as high as its page, where the browser lets us ask: not from file://.
for (const frame of document.querySelectorAll("iframe.explorer")) {
  frame.addEventListener("load", () => {
    const page = frame.contentDocument?.body
    if (!page) return
    new ResizeObserver(() => { frame.style.height = `${Math.ceil(page.getBoundingClientRect().bottom + frame.contentWindow.scrollY) + 16}px` }).observe(page)
  })
}
