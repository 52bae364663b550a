document.body.dataset.asset = "1";
