"""PanDA's language: what its two generations of servers are asked, and what their replies mean.

The older one (`/server/panda/*`) replies `{"StatusCode": 0, ...}`, the newer one (`/api/v1`) `{"success": true,
"message": "", "data": ...}`. Both were seen to say success where nothing was stored, and no success where all of it was
(panda-server 0.8.1 and 1.0.4). So a reply is believed only where each part of it has its shape; whatever else comes
raises `WireError` in one sentence, and whoever asked asks again or looks into the books.
"""
